"""B3, the headers of Zipkin: one ``b3`` header, or several ``X-B3-*``.

https://github.com/openzipkin/b3-propagation, with the decisions of Brave's extractor where the
text leaves something open. The four states of a sampling decision are ``SpanContext.sampled``
None (deferred to us), False (denied), True (accepted) and ``debug`` (accepted, beyond samplers).
A decision may come without ids: then ``trace_id`` is 0.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from exporters.records import DEBUG, SAMPLED

from ..identity import MASK_64
from ..span_context import SpanContext, remote
from . import carriers
from .carriers import Headers
from .source import Source

SINGLE = "b3"
TRACE_ID = "x-b3-traceid"
SPAN_ID = "x-b3-spanid"
PARENT_SPAN_ID = "x-b3-parentspanid"
SAMPLED_FLAG = "x-b3-sampled"
FLAGS = "x-b3-flags"

_DECISIONS: dict[str, tuple[bool, bool]] = {  # of the single header: (sampled, debug)
    "0": (False, False),
    "1": (True, False),
    "d": (True, True),
}
_SAMPLED_WORDS = {"1": True, "0": False, "true": True, "false": False}


# trace-span[-sampled][-parent]; ids in lower case and at full length.
_SINGLE = re.compile(
    r"([0-9a-f]{32}|[0-9a-f]{16})-([0-9a-f]{16})(?:-([01d]))?(?:-([0-9a-f]{16}))?"
).fullmatch
# In the several headers shorter ids are padded; Brave takes one digit for a mistake.
_MULTI_TRACE_ID = re.compile(r"[0-9a-f]{2,32}").fullmatch
_MULTI_SPAN_ID = re.compile(r"[0-9a-f]{2,16}").fullmatch


def parse_single(value: str) -> SpanContext | None:
    """A ``b3`` header: ``trace-span[-sampled][-parent]`` or a decision alone; None if malformed."""
    found = _SINGLE(value)
    if found is None:
        decision = _DECISIONS.get(value)
        return None if decision is None else remote(0, 0, *decision)
    trace, span, sampled, parent = found.groups()
    trace_id, span_id = int(trace, 16), int(span, 16)
    if not trace_id or not span_id:
        return None
    accepted, debug = _DECISIONS[sampled] if sampled else (None, False)
    return remote(trace_id, span_id, accepted, debug, int(parent, 16) if parent else 0)


def read_single(headers: Headers) -> SpanContext | None:
    """The context of the ``b3`` header."""
    value = carriers.first(headers, SINGLE)
    return parse_single(value) if value else None


def read_multi(headers: Headers) -> SpanContext | None:
    """The context of the ``X-B3-*`` headers; None as soon as one of them is malformed."""
    first = carriers.first
    trace_text = first(headers, TRACE_ID)
    sampled_text = first(headers, SAMPLED_FLAG)
    debug = FLAGS in headers and first(headers, FLAGS) == "1"
    sampled: bool | None = None
    if sampled_text is not None:
        sampled = _SAMPLED_WORDS.get(sampled_text)
        if sampled is None:
            sampled = _SAMPLED_WORDS.get(sampled_text.lower())
        if sampled is None:
            return None
    if debug:
        sampled = True
    if trace_text is None:  # a decision alone; a span id without a trace says nothing
        if sampled is None:
            return None
        return remote(0, 0, sampled, debug)
    span_text = first(headers, SPAN_ID)
    parent_text = first(headers, PARENT_SPAN_ID) if PARENT_SPAN_ID in headers else None
    if span_text is None or not _MULTI_TRACE_ID(trace_text) or not _MULTI_SPAN_ID(span_text):
        return None
    trace_id, span_id, parent_id = int(trace_text, 16), int(span_text, 16), 0
    if parent_text is not None:
        parent_id = int(parent_text, 16) if _MULTI_SPAN_ID(parent_text) else 0
        if not parent_id:
            return None
    if not trace_id or not span_id:
        return None
    return remote(trace_id, span_id, sampled, debug, parent_id)


def extract(carrier: Any) -> SpanContext | None:
    """The single header, or the several where it is absent or malformed."""
    return read(carriers.headers(carrier))


def read(headers: Headers) -> SpanContext | None:
    """:func:`extract` of headers that were sorted out already."""
    return read_single(headers) or read_multi(headers)


def format_single(source: Source) -> str:
    """The ``b3`` header of ``source``."""
    flags, trace_id = source.flags, source.trace_id
    decision = "d" if flags & DEBUG else "1" if flags & SAMPLED else "0"
    trace = trace_id.to_bytes(16 if trace_id > MASK_64 else 8, "big").hex()
    return f"{trace}-{source.span_id.to_bytes(8, 'big').hex()}-{decision}"


def format_trace_id(trace_id: int) -> str:
    """16 digits for a 64-bit id, else 32."""
    return trace_id.to_bytes(16 if trace_id >> 64 else 8, "big").hex()


class B3Single:
    """The propagator ``b3``: writes the single header, reads both forms."""

    fields = (SINGLE,)
    read = staticmethod(read)

    def write(self, source: Source) -> Sequence[tuple[str, str]]:
        return [(SINGLE, format_single(source))]


class B3Multi:
    """The propagator ``b3multi``: writes the several headers, reads both forms."""

    fields = (TRACE_ID, SPAN_ID, PARENT_SPAN_ID, SAMPLED_FLAG, FLAGS)
    read = staticmethod(read)

    def write(self, source: Source) -> Sequence[tuple[str, str]]:
        flags = source.flags
        headers = [
            (TRACE_ID, format_trace_id(source.trace_id)),
            (SPAN_ID, source.span_id.to_bytes(8, "big").hex()),
            # Debug implies sampled, which is then not sent.
            (FLAGS, "1") if flags & DEBUG else (SAMPLED_FLAG, "1" if flags & SAMPLED else "0"),
        ]
        if source.parent_id:
            headers.append((PARENT_SPAN_ID, source.parent_id.to_bytes(8, "big").hex()))
        return headers
