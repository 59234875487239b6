"""Digest lines: one finished span as one line of a log.

The fields and their order are SOFATracer's: the common ones, then those of the kind of work
(:mod:`exporters.work`), then the baggage. The JSON form adds behind them what SOFATracer's lines
lack, so that nothing of a span is lost and ``lookout ship`` can rebuild it: the ids of spans,
its name, exact times, all tags with their types, events, links and status.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from ._text import clean, encodable, json_text, portable
from .records import KIND_NAMES, EventRecord, FinishedSpan, LinkRecord, Resource, SpanRecord
from .tag_rules import TagRules
from .work import BIZ, Field, Work

_KINDS = tuple(name.lower() for name in KIND_NAMES)
_COSTS = tuple(f"{milliseconds}ms" for milliseconds in range(1000))
_STATUS = (None, "OK", "ERROR")
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


# The fields of every line before those of the kind of work, and after them.
_HEAD = (
    ("time", str),
    ("local_app", str),
    ("trace_id", str),
    ("rpc_id", str),
    ("span_kind", str),
    ("result_code", str),
    ("thread_name", str),
    ("cost", str),
)
_TAIL: tuple[tuple[str, Any, Any], ...] = (
    ("sys_baggage", str, ""),
    ("biz_baggage", str, ""),
    ("id", str | None, None),
    ("parent_id", str | None, None),
    ("name", str | None, None),
    ("start", int, -1),
    ("duration", int, -1),
    ("tags", Any, None),
    ("events", Any, None),
    ("links", Any, None),
    ("status", str | None, None),
    ("status_text", str | None, None),
    ("flags", int, 1),
    ("tracestate", str | None, None),
    ("scope", str | None, None),
    ("resource", Any, None),
)
_NAMES = {
    "local_app": "local.app",
    "trace_id": "traceId",
    "rpc_id": "spanId",
    "span_kind": "span.kind",
    "result_code": "result.code",
    "thread_name": "current.thread.name",
    "cost": "time.cost.milliseconds",
    "sys_baggage": "sys.baggage",
    "biz_baggage": "biz.baggage",
    "parent_id": "parentId",
    "start": "timestamp",
    "status_text": "statusText",
}


class JsonDigest:
    """One JSON object per line, valid whatever the tags hold (:func:`exporters._text.clean`).

    ``rules`` decide which tags appear, and how.
    """

    def __init__(self, rules: TagRules | None = None) -> None:
        self._rules = rules
        self._encoder = msgspec.json.Encoder(enc_hook=encodable)
        self._time = LocalTime()
        self._lines: dict[str, Callable[..., Any]] = {}
        self._resources: dict[int, tuple[Resource, msgspec.Raw | None]] = {}

    def encode(self, work: Work, records: Sequence[SpanRecord]) -> bytes:
        lines = self._made(work, records)
        try:
            return self._encoder.encode_lines(lines)
        except Exception:
            return b"".join(map(self._encode_carefully, lines))

    def _encode_carefully(self, line: Any) -> bytes:
        try:
            return self._encoder.encode(line) + b"\n"
        except Exception:
            values = msgspec.structs.asdict(line)
            names = dict(zip(line.__struct_fields__, line.__struct_encode_fields__, strict=True))
            plain = {names[k]: _cleaned(v) for k, v in values.items() if v is not None}
            return self._encoder.encode(plain) + b"\n"

    def _made(self, work: Work, records: Sequence[SpanRecord]) -> list[Any]:
        """The lines as msgspec structs. One loop with local names: it is run for each span."""
        make = self._lines.get(work.name) or self._make(work)
        moment, rules, code = self._time, self._rules, work.code
        known: Resource | None = None
        app, attributes = "", None
        known_ms: int | None = None
        ended = ""
        lines = []
        for record in records:
            tags = record.tags or _NO_TAGS
            if type(record) is not FinishedSpan:
                tags = portable(tags)  # of others nobody has looked at the integers
            if rules is not None:
                tags = rules.apply(tags)
            losses = getattr(record, "losses", None)
            if losses:
                tags = {**tags, **losses}
            resource = record.resource
            if resource is not known:
                known, app, attributes = resource, resource.service_name, self._resource(resource)
            start_ns = record.start_ns
            duration_ns = record.duration_ns
            parent = record.parent_id
            status = record.status
            baggage = getattr(record, "baggage", None)
            milliseconds = duration_ns // 1_000_000
            end_ms = (start_ns + duration_ns) // 1_000_000
            if end_ms != known_ms:  # spans of a busy moment share it
                known_ms, ended = end_ms, moment(start_ns + duration_ns)
            lines.append(
                make(
                    ended,
                    app,
                    record.trace_id.to_bytes(16, "big").hex(),
                    record.rpc_id,
                    _KINDS[record.kind],
                    code(record, tags),
                    tags.get("thread.name", ""),
                    _COSTS[milliseconds] if milliseconds < 1000 else f"{milliseconds}ms",
                    pairs(baggage.sys) if baggage else "",
                    pairs(baggage.biz) if baggage else "",
                    record.span_id.to_bytes(8, "big").hex(),
                    parent.to_bytes(8, "big").hex() if parent else None,
                    record.name,
                    start_ns // 1000,
                    duration_ns // 1000,
                    tags or None,
                    _events(events) if (events := record.events) else None,
                    _links(links) if (links := record.links) else None,
                    _STATUS[status] if status else None,
                    (record.status_text or None) if status else None,
                    record.flags,
                    record.tracestate or None,
                    record.scope or None,
                    attributes,
                )
            )
        return lines

    def _make(self, work: Work) -> Callable[..., Any]:
        labels = {f"field_{n}": field.label for n, field in enumerate(work.fields)}
        fields: list[Any] = [
            *_HEAD,
            *((name, Any, None) for name in labels),
            *_TAIL,
        ]
        made: Callable[..., Any] = msgspec.defstruct(
            "Line", fields, rename={**_NAMES, **labels}, omit_defaults=True, gc=False
        )
        if work.fields:  # the most spans have none, and are spared the detour
            made = _with_fields(made, work.fields)
        self._lines[work.name] = made
        return made

    def _resource(self, resource: Resource) -> msgspec.Raw | None:
        known = self._resources.get(id(resource))
        if known is None or known[0] is not resource:
            attributes = {key: clean(value) for key, value in resource.attributes.items()}
            raw = msgspec.Raw(msgspec.json.encode(attributes)) if attributes else None
            if len(self._resources) >= 64:
                self._resources.clear()
            known = self._resources[id(resource)] = (resource, raw)
        return known[1]


def _with_fields(line: Callable[..., Any], fields: Sequence[Field]) -> Callable[..., Any]:
    """``line`` called without the work's own fields, which are taken from the tags."""
    head = len(_HEAD)
    place_of_tags = head + [name for name, _, _ in _TAIL].index("tags")

    def make(*values: Any) -> Any:
        tags = values[place_of_tags] or _NO_TAGS
        return line(*values[:head], *[field.of(tags) for field in fields], *values[head:])

    return make


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
            _KINDS[record.kind],
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


def _cleaned(value: Any) -> Any:
    return value if isinstance(value, msgspec.Raw) else clean(value)


def _events(events: Sequence[EventRecord]) -> list[dict[str, Any]]:
    return [
        {"timestamp": event.time_ns // 1000, "name": event.name}
        | ({"attributes": portable(event.attributes)} if event.attributes else {})
        for event in events
    ]


def _links(links: Sequence[LinkRecord]) -> list[dict[str, Any]]:
    return [
        {
            "traceId": f"{link.trace_id:032x}",
            "id": f"{link.span_id:016x}",
            "tracestate": link.tracestate,
            "attributes": portable(link.attributes or {}),
        }
        for link in links
    ]
