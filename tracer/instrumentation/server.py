"""How a server's middleware begins: the caller's context if it sent one, else the current span."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from exporters.records import TagValue

from ..api import start_span
from ..kinds import SpanKind
from ..propagation import extract
from ..span import Span
from ..tracer import CURRENT


def start_server_span(
    name: str, kind: SpanKind, headers: Mapping[str, str], tags: Mapping[str, TagValue]
) -> Span:
    """A span under the remote parent named in ``headers``; never raises."""
    parent: Any = extract(headers)
    return start_span(name, kind=kind, parent=parent if parent is not None else CURRENT, tags=tags)
