"""Digest lines: one finished span as one line of a log, here in SOFATracer's own form.

The fields and their order are SOFATracer's: the common ones, then those of the kind of work
(:mod:`exporters.work`), then the baggage. The usual form is JSON, :mod:`exporters.json_digest`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from ._text import json_text
from .records import KIND_NAMES, SpanRecord
from .tag_rules import TagRules
from .work import BIZ, Field, Work

#: The kinds of spans in lower case, by their number.
KINDS = tuple(name.lower() for name in KIND_NAMES)
_NO_TAGS: Mapping[str, Any] = {}


class LineEncoder(Protocol):
    """What a format of digest lines must be able to do."""

    def encode(self, work: Work, records: Sequence[SpanRecord]) -> bytes:
        """Lines, each ended by a line break, for spans that are all of one kind of work."""


class LocalTime:
    """``yyyy-MM-dd HH:mm:ss.SSS`` in local time; formats each second once."""

    def __init__(self) -> None:
        self._second: int | None = None
        self._prefix = ""

    def __call__(self, moment_ns: int) -> str:
        """The text for a moment in nanoseconds since the epoch."""
        millisecond = moment_ns // 1_000_000
        second = millisecond // 1000
        if second != self._second:
            try:
                self._prefix = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(second))
            except (OverflowError, ValueError, OSError):  # a year no calendar has
                self._prefix = "1970-01-01 00:00:00"
            self._second = second
        return f"{self._prefix}.{millisecond % 1000:03d}"


class DelimitedDigest:
    """SOFATracer's comma-separated lines, ended by CR LF, with every value escaped.

    Within a value ``%``, ``,``, CR, LF and other control characters become ``%XX`` of their
    UTF-8 bytes; in maps (``k=v&``) so do ``&`` and ``=``. SOFATracer escapes none of this.
    """

    def __init__(self, rules: TagRules | None = None) -> None:
        self._rules = rules
        self._time = LocalTime()

    def encode(self, work: Work, records: Sequence[SpanRecord]) -> bytes:
        text = "".join(self._line(work, record) for record in records)
        return text.encode("utf-8", "replace")

    def _line(self, work: Work, record: SpanRecord) -> str:
        tags = record.tags or _NO_TAGS
        if self._rules is not None:
            tags = self._rules.apply(tags)
        tags = {**tags, **(getattr(record, "losses", None) or {})}
        baggage = getattr(record, "baggage", None)
        values = [
            self._time(record.start_ns + record.duration_ns),
            record.resource.service_name,
            getattr(record, "sofa_trace_id", "") or f"{record.trace_id:032x}",
            record.rpc_id,
            KINDS[record.kind],
            work.code(record, tags),
            tags.get("thread.name", ""),
            f"{record.duration_ns // 1_000_000}ms",
            *self._own(work, record, tags),
        ]
        maps = [pairs(baggage.sys) if baggage else "", pairs(baggage.biz) if baggage else ""]
        return ",".join([escape(value) for value in values] + maps) + "\r\n"

    def _own(self, work: Work, record: SpanRecord, tags: Mapping[str, Any]) -> list[Any]:
        if work is BIZ:
            return [record.name, _Escaped(pairs(tags))]
        return [_sized(field, field.of(tags)) for field in work.fields]


class _Escaped(str):
    """Text that is escaped already."""


def escape(value: Any) -> str:
    """One value of a delimited line."""
    if value is None:
        return ""
    if isinstance(value, _Escaped):
        return value
    return json_text(value).translate(_VALUE)


def pairs(items: Mapping[str, Any]) -> str:
    """A map as ``k=v&k2=v2&``, escaped."""
    return "".join(
        f"{json_text(key).translate(_PAIR)}={json_text(value).translate(_PAIR)}&"
        for key, value in items.items()
    )


def _sized(field: Field, value: Any) -> Any:
    return f"{value}B" if value is not None and field.label.endswith("size.bytes") else value


def _percent(characters: str) -> dict[int, str]:
    controls = [*range(0x20), 0x7F, 0x85, 0x2028, 0x2029]
    codes = controls + [ord(character) for character in characters]
    return {code: "".join(f"%{byte:02X}" for byte in chr(code).encode()) for code in codes}


_VALUE = _percent("%,")
_PAIR = _percent("%,&=")
