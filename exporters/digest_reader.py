"""Digest lines back into spans: ours in full, SOFATracer's own as far as they tell.

SOFATracer's lines name a span by its dotted id alone. Its id becomes the FNV-1a hash of that, as
in SOFATracer's own Zipkin reporter, so spans of both ends of a call find each other.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import msgspec

from .records import KIND_NAMES, SAMPLED, EventRecord, LinkRecord, Resource

_KINDS = {name.lower(): number for number, name in enumerate(KIND_NAMES)}
_STATUS = {"OK": 1, "ERROR": 2}
_MASK_128 = 2**128 - 1

#: The fields before those of the kind of work, in both formats.
_COMMON = (
    "time",
    "local.app",
    "traceId",
    "spanId",
    "span.kind",
    "result.code",
    "current.thread.name",
    "time.cost.milliseconds",
)
#: Ours beside those, which are no tags of a SOFATracer line.
_OWN = {*_COMMON, "sys.baggage", "biz.baggage"}

_FAILED = re.compile(r"(?:[45]\d\d|0[1-9]|[1-9]\d|failed)\Z")


@dataclass(frozen=True, slots=True)
class LoggedSpan:
    """A span read from a line; has what :class:`exporters.records.SpanRecord` has."""

    trace_id: int
    span_id: int
    parent_id: int
    name: str
    kind: int
    start_ns: int
    duration_ns: int
    resource: Resource
    rpc_id: str
    tags: Mapping[str, Any] | None = None
    events: Sequence[EventRecord] | None = None
    links: Sequence[LinkRecord] | None = None
    status: int = 0
    status_text: str = ""
    flags: int = SAMPLED
    tracestate: str = ""
    scope: str = ""
    baggage: None = field(default=None)


def read_line(line: bytes) -> LoggedSpan | None:
    """The span of a digest line in any of the formats; None for anything else.

    What is cut off by a crash, or is no digest line, is anything else.
    """
    try:
        if line.startswith(b"{"):
            fields = _decoder.decode(line)
            return _own(fields) if "id" in fields else _sofa(fields, _rest(fields))
        return _delimited(line)
    except (msgspec.DecodeError, ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return None


_decoder = msgspec.json.Decoder(dict[str, Any])


def _own(fields: Mapping[str, Any]) -> LoggedSpan:
    return LoggedSpan(
        trace_id=int(fields["traceId"], 16),
        span_id=int(fields["id"], 16),
        parent_id=int(fields.get("parentId", "0"), 16),
        name=str(fields["name"]),
        kind=_KINDS[fields["span.kind"]],
        start_ns=int(fields["timestamp"]) * 1000,
        duration_ns=int(fields["duration"]) * 1000,
        resource=Resource(str(fields["local.app"]), _mapping(fields.get("resource"))),
        rpc_id=str(fields["spanId"]),
        tags=_mapping(fields.get("tags")) or None,
        events=[_event(each) for each in fields.get("events", ())] or None,
        links=[_link(each) for each in fields.get("links", ())] or None,
        status=_STATUS.get(fields.get("status", ""), 0),
        status_text=str(fields.get("statusText", "")),
        flags=int(fields.get("flags", SAMPLED)),
        tracestate=str(fields.get("tracestate", "")),
        scope=str(fields.get("scope", "")),
    )


def _mapping(value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise TypeError(f"expected an object, not {value!r}")
    return value


def _event(fields: Mapping[str, Any]) -> EventRecord:
    return EventRecord(
        int(fields["timestamp"]) * 1000, str(fields["name"]), fields.get("attributes")
    )


def _link(fields: Mapping[str, Any]) -> LinkRecord:
    return LinkRecord(
        int(fields["traceId"], 16),
        int(fields["id"], 16),
        fields.get("tracestate", ""),
        fields.get("attributes"),
    )


def _rest(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if key not in _OWN and value != ""}


def _delimited(line: bytes) -> LoggedSpan | None:
    if not line.endswith(b"\r\n"):
        return None
    values = line[:-2].decode("utf-8").split(",")
    if len(values) < len(_COMMON) + 2:
        return None
    fields = dict(zip(_COMMON, map(unquote, values), strict=False))
    tags: dict[str, Any] = {}
    for number, value in enumerate(values[len(_COMMON) : -2]):
        if "=" in value and value.endswith("&"):
            tags.update(_map(value))
        elif value:
            tags[f"field.{number + 1}"] = unquote(value)
    return _sofa(fields, tags)


def _map(text: str) -> dict[str, str]:
    pairs = (item.split("=", 1) for item in text[:-1].split("&") if "=" in item)
    return {unquote(key): unquote(value) for key, value in pairs}


def _sofa(fields: Mapping[str, Any], tags: dict[str, Any]) -> LoggedSpan:
    rpc_id = str(fields["spanId"])
    parent = rpc_id.rpartition(".")[0]
    code = str(fields.get("result.code", ""))
    duration_ms = int(str(fields["time.cost.milliseconds"]).removesuffix("ms"))
    name = tags.get("request.url") or tags.get("sql") or tags.get("method") or tags.get("field.1")
    if code:
        tags["result.code"] = code
    return LoggedSpan(
        trace_id=int(str(fields["traceId"]), 16) & _MASK_128,
        span_id=fnv_1a(rpc_id),
        parent_id=fnv_1a(parent) if parent else 0,
        name=str(name or ""),
        kind=_KINDS.get(str(fields.get("span.kind", "")), 0),
        start_ns=(_milliseconds(str(fields["time"])) - duration_ms) * 1_000_000,
        duration_ns=duration_ms * 1_000_000,
        resource=Resource(str(fields["local.app"])),
        rpc_id=rpc_id,
        tags=tags or None,
        status=2 if _FAILED.match(code) else 0,
    )


def _milliseconds(text: str) -> int:
    """Milliseconds since the epoch of a local time such as ``2026-11-21 01:44:06.785``."""
    seconds, _, rest = text.partition(".")
    moment = time.mktime(time.strptime(seconds, "%Y-%m-%d %H:%M:%S"))
    return int(moment) * 1000 + int((rest + "000")[:3])


def fnv_1a(text: str) -> int:
    """The 64-bit FNV-1a hash of a dotted id, by which SOFATracer tells Zipkin of a span."""
    value = 0xCBF29CE484222325
    for byte in text.encode():
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return value
