"""Trees compared by what they say, not by where it stands in a query."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from lookout_server.query.prometheus.matchers import Matcher
from lookout_server.query.prometheus.signatures import Function


def without_positions(node: Any) -> Any:
    """A nested structure that is equal for equal trees; the order of matchers does not count."""
    if isinstance(node, tuple):
        items = map(without_positions, node)
        matchers = node and isinstance(node[0], Matcher)
        return tuple(sorted(items, key=repr) if matchers else items)
    if isinstance(node, float) and math.isnan(node):
        return "NaN"
    if isinstance(node, Function) or not dataclasses.is_dataclass(node):
        return node
    fields = (f.name for f in dataclasses.fields(node) if f.name not in ("start", "end"))
    return type(node).__name__, {name: without_positions(getattr(node, name)) for name in fields}
