"""The fast path from Zipkin JSON v2 to columns: typed decoding, then one loop over plain lists.

It takes what clients send every day. Whatever is unusual raises :class:`Irregular` (or msgspec's
own DecodeError before), and the exact reader decides what it means.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from .columns import (
    DEBUG,
    ERROR,
    KIND_MASK,
    SHAPES,
    SHARED,
    Ids,
    Ints,
    SpanColumns,
    pack_address,
    pack_remote,
)
from .model import KIND_CODES, Endpoint
from .primitives import longs, unhexed, unnested
from .remembered import Remembered

_ZERO = "0" * 16
_CLIENT = KIND_CODES["CLIENT"]
#: Codes of kinds as they are written; of none too.
KINDS: dict[str | None, int] = {None: 0}
KINDS.update(KIND_CODES.items())
_NOWHERE = ("", "", "")
_NO_TAGS: dict[str, str] = {}


class Irregular(Exception):
    """Input that the fast path leaves to the exact reader."""


class FastEndpoint(msgspec.Struct, gc=False, frozen=True):
    serviceName: str | None = None  # noqa: N815 (names of the wire)
    ipv4: str | None = None
    ipv6: str | None = None
    port: int | None = None


class FastAnnotation(msgspec.Struct, gc=False):
    timestamp: int
    value: str


class FastSpan(msgspec.Struct, gc=False):
    traceId: str  # noqa: N815
    id: str
    parentId: str | None = None  # noqa: N815
    kind: str | None = None
    name: str | None = None
    timestamp: int | None = None
    duration: int | None = None
    localEndpoint: FastEndpoint | None = None  # noqa: N815
    remoteEndpoint: FastEndpoint | None = None  # noqa: N815
    annotations: list[FastAnnotation] | None = None
    tags: dict[str, str] | None = None
    debug: bool | None = None
    shared: bool | None = None


class LooseSpan(FastSpan, gc=False):
    """As some clients write it: tags may be whole numbers."""

    tags: dict[str, str | int] | None = None  # type: ignore[assignment]

    def tighten(self) -> None:
        """Make the numbers the text they were."""
        if self.tags:
            self.tags = {key: str(value) for key, value in self.tags.items()}


def columns_of(spans: Sequence[FastSpan]) -> SpanColumns:
    """Columns of decoded spans. Raises Irregular where Zipkin's finer rules apply.

    One comprehension a column: half of what one loop over the spans takes.
    """
    columns = SpanColumns()
    _set_ids(columns, spans)
    columns.timestamps = _moments([span.timestamp for span in spans])
    columns.durations = _moments([span.duration for span in spans])
    try:
        flags = [KINDS[span.kind] for span in spans]
    except KeyError:
        raise Irregular from None
    columns.names = [name.lower() if (name := span.name) else "" for span in spans]
    columns.services, columns.local_address, _ = _endpoints([span.localEndpoint for span in spans])
    columns.remote_services, _, columns.remote = _endpoints([span.remoteEndpoint for span in spans])
    tags = [span.tags or _NO_TAGS for span in spans]
    keys, columns.tag_keys, columns.tag_values = unnested(tags)
    columns.tag_counts = list(map(len, keys))
    columns.shapes = list(map(SHAPES.__getitem__, keys))
    if "error" in columns.tag_keys:
        flags = [
            flag | ERROR if "error" in of_span else flag
            for flag, of_span in zip(flags, tags, strict=True)
        ]
    if any(span.shared or span.debug for span in spans):
        flags = [_marked(flag, span) for flag, span in zip(flags, spans, strict=True)]
    columns.flags = flags
    if any(span.annotations for span in spans):
        for span in spans:
            _add_annotations(columns, span.annotations or [])
    else:
        columns.annotation_counts = [0] * len(spans)
    return columns


def _marked(flags: int, span: FastSpan) -> int:
    if span.shared and flags & KIND_MASK != _CLIENT:
        flags |= SHARED
    return flags | DEBUG if span.debug else flags


def _endpoints(
    endpoints: list[FastEndpoint | None],
) -> tuple[list[str], list[str], list[str]]:
    """Services, packed addresses and packed wholes."""
    if not any(endpoints):
        nothing = [""] * len(endpoints)
        return nothing, nothing, nothing
    packed = map(packed_endpoints.__getitem__, endpoints)
    services, addresses, wholes = zip(*packed, strict=True)
    return list(services), list(addresses), list(wholes)


def _add_annotations(columns: SpanColumns, annotations: list[FastAnnotation]) -> None:
    pairs = [(a.timestamp, a.value) for a in annotations]
    if len(pairs) > 1:
        pairs = sorted(set(pairs))
    columns.annotation_counts.append(len(pairs))
    for timestamp, value in pairs:
        if not -(2**63) <= timestamp < 2**63:
            raise Irregular
        columns.annotation_times.append(timestamp)
        columns.annotation_values.append(value)


def _pack(endpoint: FastEndpoint | None) -> tuple[str, str, str]:
    """Service, packed address and packed whole of an endpoint."""
    if endpoint is None:
        return _NOWHERE
    port = endpoint.port or 0
    if port > 0xFFFF:
        raise Irregular
    packed = Endpoint((endpoint.serviceName or "").lower(), port=max(port, 0))
    for text in (endpoint.ipv4, endpoint.ipv6):
        if text:
            packed = packed.with_ip(text)
    return packed.service, pack_address(packed), pack_remote(packed)


def _size(endpoint: FastEndpoint | None, packed: tuple[str, str, str]) -> int:
    """Characters of both: an address that is none has no place in what is packed."""
    if endpoint is None:
        return 0
    sent = endpoint.serviceName, endpoint.ipv4, endpoint.ipv6
    return sum(len(text) for text in (*sent, *packed) if text)


#: Service, packed address and packed whole of endpoints. Raises Irregular.
packed_endpoints = Remembered(_pack, size=_size)


def _set_ids(columns: SpanColumns, spans: Sequence[FastSpan]) -> None:
    traces = [span.traceId for span in spans]
    if set(map(len, traces)) != {32}:
        traces = [_padded(trace_id) for trace_id in traces]
    parents = [_ZERO if (parent := span.parentId) is None else parent for span in spans]
    columns.high, columns.low = _numbers(traces, 32).reshape(-1, 2).T
    parent_ids, columns.ids = _numbers(parents, 16), _numbers([span.id for span in spans], 16)
    # Counting takes half of what ``all`` takes, and hardly a trace has a low id of zero.
    if np.count_nonzero(columns.ids) < len(spans):
        raise Irregular
    if np.count_nonzero(columns.low) < len(spans) and not (columns.high | columns.low).all():
        raise Irregular
    columns.parents = np.where(parent_ids == columns.ids, np.uint64(0), parent_ids)


def _numbers(texts: list[str], digits: int) -> Ids:
    try:
        return np.frombuffer(unhexed(texts, digits), np.uint64)
    except ValueError:
        raise Irregular from None


def _padded(trace_id: str) -> str:
    if len(trace_id) == 16:
        return _ZERO + trace_id
    if len(trace_id) != 32:
        raise Irregular
    return trace_id


def _moments(microseconds: list[int | None]) -> Ints:
    try:
        return np.maximum(np.frombuffer(longs(microseconds), np.int64), 0)
    except OverflowError:
        raise Irregular from None
