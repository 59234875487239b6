"""B3, the headers of Zipkin: one ``b3`` header, or several ``X-B3-*``.

https://github.com/openzipkin/b3-propagation, with the decisions of Brave's extractor where the
text leaves something open. The four states of a sampling decision are ``SpanContext.sampled``
None (deferred to us), False (denied), True (accepted) and ``debug`` (accepted, beyond samplers).
A decision may come without ids: then ``trace_id`` is 0.
"""

from __future__ import annotations

from binascii import unhexlify
from collections.abc import Mapping
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


_from_bytes = int.from_bytes


def parse_single(value: str) -> SpanContext | None:
    """A ``b3`` header: ``trace-span[-sampled][-parent]`` or a decision alone; None if malformed.

    Ids are in lower case and at full length: 32 or 16 digits for the trace, 16 for a span.
    """
    trace, _, rest = value.partition("-")
    span, hyphen, rest = rest.partition("-")
    if len(span) != 16 or (len(trace) != 32 and len(trace) != 16) or (hyphen and not rest):
        decision = _DECISIONS.get(value)
        return None if decision is None else remote(0, 0, *decision)
    try:  # unhexlify refuses all but hex digits, of which upper-case ones are left to refuse
        trace_id = _from_bytes(unhexlify(trace), "big")
        span_id = _from_bytes(unhexlify(span), "big")
        sampled, debug, parent_id = _ENDINGS.get(rest) or _ending(rest)
    except ValueError:
        return None
    if not trace_id or not span_id or value != value.lower():
        return None
    return remote(trace_id, span_id, sampled, debug, parent_id)


#: What follows the ids: (sampled, debug, parent id).
_ENDINGS: dict[str, tuple[bool | None, bool, int]] = {
    "": (None, False, 0),
    "0": (False, False, 0),
    "1": (True, False, 0),
    "d": (True, True, 0),
}


def _ending(text: str) -> tuple[bool | None, bool, int]:
    """The ending with a parent's id, after a decision or alone; ValueError if malformed."""
    sampled, _, parent = text.rpartition("-")
    if len(parent) != 16 or (sampled and sampled not in _DECISIONS) or text[0] == "-":
        raise ValueError(text)
    accepted, debug, _ = _ENDINGS[sampled]
    return accepted, debug, _from_bytes(unhexlify(parent), "big")


def read_single(headers: Headers) -> SpanContext | None:
    """The context of the ``b3`` header."""
    value = headers.get(SINGLE)
    if value is not None and type(value) is not str:
        value = carriers.first(headers, SINGLE)
    return parse_single(value) if value else None


def read_multi(headers: Headers) -> SpanContext | None:
    """The context of the ``X-B3-*`` headers; None as soon as one of them is malformed."""
    get = headers.get
    trace_text, span_text, sampled_text = get(TRACE_ID), get(SPAN_ID), get(SAMPLED_FLAG)
    if not type(trace_text) is type(span_text) is type(sampled_text) is str:
        trace_text, span_text, sampled_text = (
            carriers.first(headers, name) for name in (TRACE_ID, SPAN_ID, SAMPLED_FLAG)
        )
    debug = FLAGS in headers and carriers.first(headers, FLAGS) == "1"
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
        return None if sampled is None else remote(0, 0, sampled, debug)
    if span_text is None:
        return None
    try:
        trace_id, span_id, parent_id = _id(trace_text, 32), _id(span_text, 16), 0
        if PARENT_SPAN_ID in headers:
            parent_text = carriers.first(headers, PARENT_SPAN_ID)
            parent_id = 0 if parent_text is None else _id(parent_text, 16)
    except ValueError:
        return None
    return remote(trace_id, span_id, sampled, debug, parent_id)


def _id(text: str, width: int) -> int:
    """The id written as up to ``width`` lower-case digits; ValueError for anything else, and 0.

    In the several headers shorter ids are padded; Brave takes one digit for a mistake.
    """
    if len(text) != width:
        if not 1 < len(text) < width:
            raise ValueError(text)
        text = text.rjust(width, "0")
    number = _from_bytes(unhexlify(text), "big")
    if not number or text != text.lower():
        raise ValueError(text)
    return number


def extract(carrier: Any) -> SpanContext | None:
    """The single header, or the several where it is absent or malformed."""
    return read(carriers.headers(carrier))


def read(headers: Headers) -> SpanContext | None:
    """:func:`extract` of headers that were sorted out already."""
    return read_single(headers) or read_multi(headers)


def format_trace_id(trace_id: int) -> str:
    """16 digits for a 64-bit id, else 32."""
    return trace_id.to_bytes(16 if trace_id > MASK_64 else 8, "big").hex()


class B3Single:
    """The propagator ``b3``: writes the single header, reads both forms."""

    fields = (SINGLE,)
    read = staticmethod(read)

    def write(self, source: Source) -> Mapping[str, str]:
        flags, trace_id = source.flags, source.trace_id
        decision = "d" if flags & DEBUG else "1" if flags & SAMPLED else "0"
        # What format_trace_id does, without its call.
        trace = trace_id.to_bytes(16 if trace_id > MASK_64 else 8, "big").hex()
        return {SINGLE: f"{trace}-{source.span_id.to_bytes(8, 'big').hex()}-{decision}"}

    write_identity = write


class B3Multi:
    """The propagator ``b3multi``: writes the several headers, reads both forms."""

    fields = (TRACE_ID, SPAN_ID, PARENT_SPAN_ID, SAMPLED_FLAG, FLAGS)
    read = staticmethod(read)

    def write(self, source: Source) -> Mapping[str, str]:
        flags, trace_id, parent_id = source.flags, source.trace_id, source.parent_id
        headers = {
            TRACE_ID: trace_id.to_bytes(16 if trace_id > MASK_64 else 8, "big").hex(),
            SPAN_ID: source.span_id.to_bytes(8, "big").hex(),
        }
        if flags & DEBUG:  # it implies sampled, which is then not sent
            headers[FLAGS] = "1"
        else:
            headers[SAMPLED_FLAG] = "1" if flags & SAMPLED else "0"
        if parent_id:
            headers[PARENT_SPAN_ID] = parent_id.to_bytes(8, "big").hex()
        return headers

    write_identity = write
