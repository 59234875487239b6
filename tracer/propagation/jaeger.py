"""Jaeger's own headers: ``uber-trace-id`` and ``uberctx-*``.

https://www.jaegertracing.io/sdk-migration/#propagation-format
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote, unquote

from exporters.records import DEBUG, SAMPLED

from ..baggage import MAX_MEMBERS, Baggage
from ..span_context import SpanContext
from . import carriers
from .carriers import Headers
from .source import Source

TRACE = "uber-trace-id"
BAGGAGE_PREFIX = "uberctx-"

# Leading zeros may be left out; flags are a byte in hex of which two bits are defined.
_FORM = re.compile(
    r"([0-9a-fA-F]{1,32}):([0-9a-fA-F]{1,16}):([0-9a-fA-F]{1,16}):([0-9a-fA-F]{1,2})"
)
_HEADER_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


def parse(value: str) -> SpanContext | None:
    """The context of a ``uber-trace-id``; None when it is malformed or an id is 0."""
    found = _FORM.fullmatch(unquote(value) if "%" in value else value)
    if found is None:
        return None
    trace_id, span_id, parent_id, flags = (int(part, 16) for part in found.groups())
    if not trace_id or not span_id:
        return None
    return SpanContext(
        trace_id,
        span_id,
        sampled=flags & 1 == 1 or flags & 2 == 2,
        debug=flags & 2 == 2,
        parent_id=parent_id,
        is_remote=True,
    )


class Jaeger:
    """The propagator ``jaeger``."""

    fields = (TRACE,)

    def read(self, headers: Headers) -> SpanContext | None:
        header = carriers.first(headers, TRACE)
        context = parse(header) if header else None
        if context is None:
            return None
        items = {
            name[len(BAGGAGE_PREFIX) :]: unquote(value, errors="replace")
            for name, value in carriers.items(headers)
            if name.startswith(BAGGAGE_PREFIX) and len(name) > len(BAGGAGE_PREFIX)
        }
        kept = dict(list(items.items())[:MAX_MEMBERS])
        return context.with_baggage(Baggage(kept)) if kept else context

    def write(self, source: Source) -> Mapping[str, str]:
        flags = source.flags
        # The parent id is deprecated; 0 is what the format asks writers to send.
        decision = 3 if flags & DEBUG else 1 if flags & SAMPLED else 0
        headers = {TRACE: f"{source.trace_id:032x}:{source.span_id:016x}:0:{decision}"}
        baggage = source.baggage
        for key, value in baggage.biz.items() if baggage else ():
            if _HEADER_NAME.fullmatch(key):
                headers[BAGGAGE_PREFIX + key] = quote(value, safe="", errors="replace")
        return headers

    write_identity = write
