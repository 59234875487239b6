"""Digest lines in JSON: one object per line, valid whatever the tags hold.

SOFATracer's fields come first, in its order. Behind them stands what its lines lack, so that
nothing of a span is lost and ``lookout ship`` can rebuild it: the ids of spans, its name, exact
times, all tags with their types, events, links and status.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from ._text import clean, encodable, portable
from .digest import KINDS, LocalTime, pairs
from .records import EventRecord, FinishedSpan, LinkRecord, Resource, SpanRecord, read
from .tag_rules import TagRules
from .work import Field, Work, plain_code

_STATUS = (None, "OK", "ERROR")
_NO_TAGS: Mapping[str, Any] = {}

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
    """One JSON object per line. ``rules`` decide which tags appear, and how."""

    def __init__(self, rules: TagRules | None = None) -> None:
        self._rules = rules
        self._encoder = msgspec.json.Encoder(enc_hook=encodable)
        self._time = LocalTime()
        self._lines: dict[str, Callable[..., Any]] = {}
        self._resources: dict[int, tuple[Resource, msgspec.Raw | None]] = {}

    def encode(self, work: Work, records: Sequence[SpanRecord]) -> bytes:
        """The lines of spans that are all of one kind of work."""
        lines = self._made(work, read(records))
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

    def _made(self, work: Work, spans: Sequence[FinishedSpan]) -> list[Any]:
        """The lines as msgspec structs. One loop with local names: it is run for each span."""
        make = self._lines.get(work.name) or self._make(work)
        moment, rules, code = self._time, self._rules, work.code
        plain = code is plain_code
        known: Resource | None = None
        app, attributes = "", None
        known_ns = next_ns = 0
        ended = ""
        lines = []
        for span in spans:
            tags = span.tags or _NO_TAGS
            if rules is not None:
                tags = rules.apply(tags)
            if span.losses:
                tags = {**tags, **span.losses}
            resource = span.resource
            if resource is not known:
                known, app, attributes = resource, resource.service_name, self._resource(resource)
            start_ns, duration_ns = span.start_ns, span.duration_ns
            status, parent, baggage = span.status, span.parent_id, span.baggage
            end_ns = start_ns + duration_ns
            if not known_ns <= end_ns < next_ns:  # spans of a busy millisecond share it
                known_ns = end_ns // 1_000_000 * 1_000_000
                next_ns, ended = known_ns + 1_000_000, moment(end_ns)
            lines.append(
                make(
                    ended,
                    app,
                    span.trace_id.to_bytes(16, "big").hex(),
                    span.rpc_id,
                    KINDS[span.kind],
                    "00" if plain and not status and "result.code" not in tags
                    else code(span, tags),
                    tags.get("thread.name", ""),
                    "0ms" if duration_ns < 1_000_000 else f"{duration_ns // 1_000_000}ms",
                    pairs(baggage.sys) if baggage else "",
                    pairs(baggage.biz) if baggage else "",
                    span.span_id.to_bytes(8, "big").hex(),
                    parent.to_bytes(8, "big").hex() if parent else None,
                    span.name,
                    start_ns // 1000,
                    duration_ns // 1000,
                    tags or None,
                    _events(events) if (events := span.events) else None,
                    _links(links) if (links := span.links) else None,
                    _STATUS[status] if status else None,
                    (span.status_text or None) if status else None,
                    span.flags,
                    span.tracestate or None,
                    span.scope or None,
                    attributes,
                )
            )  # fmt: skip
        return lines

    def _make(self, work: Work) -> Callable[..., Any]:
        labels = {f"field_{n}": field.label for n, field in enumerate(work.fields)}
        fields: list[Any] = [*_HEAD, *((name, Any, None) for name in labels), *_TAIL]
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
