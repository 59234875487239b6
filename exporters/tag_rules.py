"""What of a span's tags may leave the process."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

MASK = "***"

#: Names whose values are secrets wherever they turn up.
SECRETS = r"(?i:passw|secret|token|authorization|cookie|api[-_.]?key|credential)"


class TagRules:
    """Selects and masks tags, by regular expressions searched for in keys and values.

    ``keep``: only tags whose key matches one of these appear (empty: all). ``drop``: tags whose
    key matches do not appear. ``mask``: their value is replaced by ``***``. ``mask_values``:
    what matches inside a text value is replaced. Raises re.error for a bad expression.
    """

    def __init__(
        self,
        *,
        keep: Iterable[str] = (),
        drop: Iterable[str] = (),
        mask: Iterable[str] = (),
        mask_values: Iterable[str] = (),
    ) -> None:
        self._keep = _any_of(keep)
        self._drop = _any_of(drop)
        self._mask = _any_of(mask)
        self._mask_values = _any_of(mask_values)
        self._known: dict[str, bool | None] = {}

    def apply(self, tags: Mapping[str, Any]) -> Mapping[str, Any]:
        """The tags as they may appear."""
        result = {}
        for key, value in tags.items():
            masked = self._known[key] if key in self._known else self._decide(key)
            if masked is not None:
                result[key] = MASK if masked else self._cleaned(value)
        return result

    def _decide(self, key: str) -> bool | None:
        """Whether the tag is masked; None when it does not appear. Remembered for 10,000 keys."""
        masked: bool | None = bool(self._mask and self._mask.search(key))
        if self._drop and self._drop.search(key):
            masked = None
        if self._keep and not self._keep.search(key):
            masked = None
        if len(self._known) < 10_000:
            self._known[key] = masked
        return masked

    def _cleaned(self, value: Any) -> Any:
        if self._mask_values is None or not isinstance(value, str):
            return value
        return self._mask_values.sub(MASK, value)


def _any_of(patterns: Iterable[str]) -> re.Pattern[str] | None:
    listed = list(patterns)
    for pattern in listed:
        re.compile(pattern)  # so that an error names the one that is wrong
    return re.compile("|".join(f"(?:{pattern})" for pattern in listed)) if listed else None
