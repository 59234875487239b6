"""The types of PromQL values, as the parser checks them."""

from __future__ import annotations

from enum import StrEnum


class ValueType(StrEnum):
    """What an expression evaluates to; the value is the name the HTTP API gives it."""

    NONE = "none"
    SCALAR = "scalar"
    STRING = "string"
    VECTOR = "vector"
    MATRIX = "matrix"

    @property
    def documented(self) -> str:
        """The name error messages use, e.g. ``instant vector``."""
        return _DOCUMENTED.get(self, self.value)


_DOCUMENTED = {ValueType.VECTOR: "instant vector", ValueType.MATRIX: "range vector"}
