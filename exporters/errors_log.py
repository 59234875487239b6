"""Lines of ``middleware_error.log`` and ``rpc-profile.log``, in SOFATracer's order of fields."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ._text import clean
from .digest import LocalTime, escape, pairs
from .records import EventRecord, SpanRecord
from .tag_rules import TagRules

_NO_TAGS: Mapping[str, Any] = {}
#: Events of this name go to the profile log.
PROFILE = "profile"


class _Lines:
    """``time, curr.app, traceId, spanId`` and the slots of one kind of line."""

    def __init__(self, format: str) -> None:
        self._json = format == "json"
        self._time = LocalTime()

    def _line(self, record: SpanRecord, moment_ns: int, slots: Mapping[str, Any]) -> str:
        fields = {
            "time": self._time(moment_ns),
            "curr.app": record.resource.service_name,
            "traceId": f"{record.trace_id:032x}",
            "spanId": record.rpc_id,
            **slots,
        }
        if self._json:
            plain = clean({k: v for k, v in fields.items() if v not in (None, "")})
            return json.dumps(plain, ensure_ascii=False, separators=(",", ":")) + "\n"
        values = (pairs(v) if isinstance(v, Mapping) else escape(v) for v in fields.values())
        return ",".join(values) + "\r\n"


class ErrorLines(_Lines):
    """One line per span that failed. Delimited lines hold the stack too, its breaks escaped."""

    def __init__(self, format: str, rules: TagRules | None = None) -> None:
        super().__init__(format)
        self._rules = rules

    def encode(self, records: Sequence[SpanRecord]) -> bytes:
        """The lines of spans that failed."""
        return "".join(map(self._of, records)).encode("utf-8", "replace")

    def _of(self, record: SpanRecord) -> str:
        tags = record.tags or _NO_TAGS
        if self._rules is not None:
            tags = self._rules.apply(tags)
        exception = _exception(record.events or ())
        baggage = getattr(record, "baggage", None)
        return self._line(
            record,
            record.start_ns,
            {
                "current.thread.name": tags.get("thread.name", ""),
                "error.type": exception.get("exception.type", tags.get("error.type", "")),
                "error.source": record.scope,
                "error.message": exception.get("exception.message", record.status_text),
                "context": dict(tags),
                "biz.baggage": dict(baggage.biz) if baggage else {},
                "stack": exception.get("exception.stacktrace", ""),
            },
        )


class ProfileLines(_Lines):
    """One line per event named "profile": its protocol and message."""

    def encode(self, records: Iterable[SpanRecord]) -> bytes:
        """The lines of all such events; empty when there are none."""
        text = "".join(
            self._of(record, event)
            for record in records
            for event in record.events or ()
            if event.name == PROFILE
        )
        return text.encode("utf-8", "replace")

    def _of(self, record: SpanRecord, event: EventRecord) -> str:
        attributes = event.attributes or _NO_TAGS
        slots = {
            "protocol": attributes.get("protocol", ""),
            "message": attributes.get("message", ""),
        }
        return self._line(record, event.time_ns, slots)


def _exception(events: Iterable[EventRecord]) -> Mapping[str, Any]:
    found = [event.attributes for event in events if event.name == "exception"]
    return (found[-1] if found else None) or _NO_TAGS
