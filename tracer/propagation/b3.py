"""B3, the headers of Zipkin: one ``b3`` header, or several ``X-B3-*``.

https://github.com/openzipkin/b3-propagation, with the decisions of Brave's extractor where the
text leaves something open. The four states of a sampling decision are ``SpanContext.sampled``
None (deferred to us), False (denied), True (accepted) and ``debug`` (accepted, beyond samplers).
A decision may come without ids: then ``trace_id`` is 0.
"""

# ruff: noqa: UP031  ("%016x" takes 60 % of the time of an f-string here)

from __future__ import annotations

from typing import Any

from exporters.records import DEBUG, SAMPLED

from ..span_context import SpanContext
from . import carriers
from .source import Put, Source

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


def _hex(text: str) -> int:
    """The number of lower-case hex digits, -1 for anything else."""
    # bytes.fromhex skips spaces, so the length of the result is compared too.
    try:
        raw = bytes.fromhex(text if len(text) % 2 == 0 else "0" + text)
    except ValueError:
        return -1
    if len(raw) != (len(text) + 1) // 2 or text != text.lower():
        return -1
    return int.from_bytes(raw, "big")


def parse_single(value: str) -> SpanContext | None:
    """A ``b3`` header: ``trace-span[-sampled][-parent]`` or a decision alone; None if malformed."""
    decision = _DECISIONS.get(value)
    if decision is not None:
        return SpanContext(0, 0, sampled=decision[0], debug=decision[1], is_remote=True)
    fields = value.split("-")
    count = len(fields)
    if not 2 <= count <= 4 or len(fields[0]) not in (16, 32) or len(fields[1]) != 16:
        return None
    trace_id, span_id = _hex(fields[0]), _hex(fields[1])
    if trace_id <= 0 or span_id <= 0:
        return None
    sampled: bool | None = None
    debug = False
    parent_id = 0
    if count > 2:
        decision = _DECISIONS.get(fields[2])
        if decision is not None:
            sampled, debug = decision
        elif count == 4:
            return None
        if decision is None or count == 4:
            parent_id = _hex(fields[-1]) if len(fields[-1]) == 16 else -1
            if parent_id < 0:
                return None
    return SpanContext(
        trace_id, span_id, sampled=sampled, debug=debug, parent_id=parent_id, is_remote=True
    )


def extract_single(carrier: Any) -> SpanContext | None:
    """The context of the ``b3`` header."""
    value = carriers.first(carrier, SINGLE)
    return parse_single(value) if value else None


def extract_multi(carrier: Any) -> SpanContext | None:
    """The context of the ``X-B3-*`` headers; None as soon as one of them is malformed."""
    first = carriers.first
    trace_text = first(carrier, TRACE_ID)
    sampled_text = first(carrier, SAMPLED_FLAG)
    debug = first(carrier, FLAGS) == "1"
    sampled: bool | None = None
    if sampled_text is not None:
        sampled = _SAMPLED_WORDS.get(sampled_text.lower())
        if sampled is None:
            return None
    if debug:
        sampled = True
    if trace_text is None:  # a decision alone; a span id without a trace says nothing
        if sampled is None:
            return None
        return SpanContext(0, 0, sampled=sampled, debug=debug, is_remote=True)
    span_text = first(carrier, SPAN_ID)
    parent_text = first(carrier, PARENT_SPAN_ID)
    if not 2 <= len(trace_text) <= 32 or span_text is None:
        return None
    trace_id, span_id = _hex(trace_text), _multi_id(span_text)
    parent_id = 0 if parent_text is None else _multi_id(parent_text)
    if trace_id <= 0 or span_id <= 0 or (parent_text is not None and parent_id <= 0):
        return None
    return SpanContext(
        trace_id, span_id, sampled=sampled, debug=debug, parent_id=parent_id, is_remote=True
    )


def _multi_id(text: str) -> int:
    return _hex(text) if 2 <= len(text) <= 16 else -1


def extract(carrier: Any) -> SpanContext | None:
    """The single header, or the several where it is absent or malformed."""
    return extract_single(carrier) or extract_multi(carrier)


def format_single(source: Source) -> str:
    """The ``b3`` header of ``source``."""
    flags = source.flags
    decision = "d" if flags & DEBUG else "1" if flags & SAMPLED else "0"
    return "%s-%016x-%s" % (format_trace_id(source.trace_id), source.span_id, decision)


def format_trace_id(trace_id: int) -> str:
    """16 digits for a 64-bit id, else 32."""
    return "%016x" % trace_id if trace_id < 1 << 64 else "%032x" % trace_id


class B3Single:
    """The propagator ``b3``: writes the single header, reads both forms."""

    fields = (SINGLE,)

    def extract(self, carrier: Any) -> SpanContext | None:
        return extract(carrier)

    def inject(self, carrier: Any, source: Source, put: Put) -> None:
        put(carrier, SINGLE, format_single(source))


class B3Multi:
    """The propagator ``b3multi``: writes the several headers, reads both forms."""

    fields = (TRACE_ID, SPAN_ID, PARENT_SPAN_ID, SAMPLED_FLAG, FLAGS)

    def extract(self, carrier: Any) -> SpanContext | None:
        return extract(carrier)

    def inject(self, carrier: Any, source: Source, put: Put) -> None:
        put(carrier, TRACE_ID, format_trace_id(source.trace_id))
        put(carrier, SPAN_ID, "%016x" % source.span_id)
        if source.parent_id:
            put(carrier, PARENT_SPAN_ID, "%016x" % source.parent_id)
        if source.flags & DEBUG:
            put(carrier, FLAGS, "1")  # implies sampled, which is then not sent
        else:
            put(carrier, SAMPLED_FLAG, "1" if source.flags & SAMPLED else "0")
