"""Log lines that say which span they belong to.

    handler.addFilter(TraceFilter())
    handler.setFormatter(logging.Formatter("%(asctime)s [%(trace_id)s %(span_id)s] %(message)s"))

or ``handler.setFormatter(TraceFormatter())``, which does both; for structlog, ``add_trace`` among
its processors. Outside any span the fields are there and empty.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, MutableMapping
from typing import Any, Literal

from ..context import current_span
from ..identity import format_span_id, format_trace_id

#: Each of these is an attribute of a log record; the last two are SOFATracer's names, in the form
#: of its ids.
FIELDS = ("trace_id", "span_id", "SOFA-TraceId", "SOFA-SpanId")

_NOWHERE = dict.fromkeys(FIELDS, "")


def trace_fields() -> dict[str, str]:
    """The fields of the current span; empty texts where there is none."""
    span = current_span()
    trace_id = span.trace_id
    if not trace_id:
        return dict(_NOWHERE)
    return {
        "trace_id": format_trace_id(trace_id),
        "span_id": format_span_id(span.span_id),
        "SOFA-TraceId": span.sofa_trace_id,
        "SOFA-SpanId": span.rpc_id,
    }


class TraceFilter(logging.Filter):
    """Lets every record pass, with the fields of the current span on it.

    On a handler it sees all records, on a logger only those of that logger itself. Where a queue
    lies between (``QueueHandler``), it belongs before the queue.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """True; sets the fields unless somebody did so before."""
        annotate(record)
        return True


class TraceFormatter(logging.Formatter):
    """A formatter whose format may name the fields, and does so by default."""

    default_format = (
        "%(asctime)s %(levelname)s %(name)s [trace_id=%(trace_id)s span_id=%(span_id)s] %(message)s"
    )

    def __init__(
        self,
        fmt: str | None = None,
        datefmt: str | None = None,
        style: Literal["%", "{", "$"] = "%",
        validate: bool = True,
        *,
        defaults: Mapping[str, Any] | None = None,
    ) -> None:
        if fmt is None:
            fmt, style = self.default_format, "%"
        super().__init__(fmt, datefmt, style, validate, defaults=defaults)

    def format(self, record: logging.LogRecord) -> str:
        """The line; the fields are those of the span current now, unless a filter set them."""
        annotate(record)
        return super().format(record)


def annotate(record: logging.LogRecord) -> None:
    """Put the fields on ``record``. Once set they stay: formatting may happen elsewhere."""
    if "trace_id" not in record.__dict__ or "SOFA-TraceId" not in record.__dict__:
        record.__dict__.update(trace_fields())


def add_trace(
    logger: Any, method_name: str, event_dict: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """A structlog processor: adds ``trace_id`` and ``span_id`` inside a span, nothing outside."""
    fields = trace_fields()
    if fields["trace_id"]:
        event_dict.setdefault("trace_id", fields["trace_id"])
        event_dict.setdefault("span_id", fields["span_id"])
    return event_dict


def add_sofa_trace(
    logger: Any, method_name: str, event_dict: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """A structlog processor: the same under SOFATracer's names and in its form."""
    fields = trace_fields()
    if fields["trace_id"]:
        event_dict.setdefault("SOFA-TraceId", fields["SOFA-TraceId"])
        event_dict.setdefault("SOFA-SpanId", fields["SOFA-SpanId"])
    return event_dict
