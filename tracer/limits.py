"""How much a span may hold. What is beyond is cut and counted, never an error."""

from __future__ import annotations

from typing import NamedTuple


class SpanLimits(NamedTuple):
    """Counts, and characters for lengths. The defaults are OpenTelemetry's, except that a value
    has a length limit too: one response body set as a tag must not fill the ring."""

    tags: int = 128
    events: int = 128
    links: int = 128
    event_attributes: int = 128
    link_attributes: int = 128
    value_length: int = 16_384
    key_length: int = 1_024
    name_length: int = 1_024
    stack_frames: int = 64
