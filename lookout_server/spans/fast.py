"""The fast path from Zipkin JSON v2 to columns: typed decoding, then one loop over plain lists.

It takes what clients send every day. Whatever is unusual raises :class:`Irregular` (or msgspec's
own DecodeError before), and the exact reader decides what it means.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import msgspec
import numpy as np

from .columns import (
    DEBUG,
    ERROR,
    SHAPE_SEPARATOR,
    SHARED,
    SpanColumns,
    pack_address,
    pack_remote,
)
from .model import KIND_CODES, Endpoint

_ZERO = "0" * 16
_HEX = b"0123456789abcdef"
_CLIENT = KIND_CODES["CLIENT"]
_KINDS: dict[str | None, int] = {None: 0}
_KINDS.update(KIND_CODES.items())


class Irregular(Exception):
    """Input that the fast path leaves to the exact reader."""


class FastEndpoint(msgspec.Struct, gc=False):
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
    """Columns of decoded spans. Raises Irregular where Zipkin's finer rules apply."""
    columns = SpanColumns()
    digits: list[str] = []
    timestamps: list[int] = []
    durations: list[int] = []
    # Local names: this loop is most of what a span costs the collector.
    add_flags, add_name = columns.flags.append, columns.names.append
    add_service, add_address = columns.services.append, columns.local_address.append
    add_remote_service, add_remote = columns.remote_services.append, columns.remote.append
    add_shape = columns.shapes.append
    for span in spans:
        trace_id, span_id, parent_id = span.traceId, span.id, span.parentId
        if len(trace_id) == 16:
            digits.append(_ZERO)
        elif len(trace_id) != 32:
            raise Irregular
        if len(span_id) != 16 or (parent_id is not None and len(parent_id) != 16):
            raise Irregular
        digits += (trace_id, parent_id or _ZERO, span_id)
        timestamps.append(span.timestamp or 0)
        durations.append(span.duration or 0)
        kind = _KINDS.get(span.kind)
        if kind is None:
            raise Irregular
        name = span.name
        add_name(name.lower() if name else "")
        local, remote = span.localEndpoint, span.remoteEndpoint
        if local is None:
            add_service("")
            add_address("")
        else:
            service, packed, _ = _endpoint(local.serviceName, local.ipv4, local.ipv6, local.port)
            add_service(service)
            add_address(packed)
        if remote is None:
            add_remote_service("")
            add_remote("")
        else:
            service, _, packed = _endpoint(
                remote.serviceName, remote.ipv4, remote.ipv6, remote.port
            )
            add_remote_service(service)
            add_remote(packed)
        flags = kind
        if span.shared and kind != _CLIENT:
            flags |= SHARED
        if span.debug:
            flags |= DEBUG
        tags = span.tags
        if tags:
            if "error" in tags:
                flags |= ERROR
            columns.tag_counts.append(len(tags))
            columns.tag_keys.extend(tags)
            columns.tag_values.extend(tags.values())
            add_shape(SHAPE_SEPARATOR.join(tags))
        else:
            columns.tag_counts.append(0)
            add_shape("")
        add_flags(flags)
        annotations = span.annotations
        if annotations:
            _add_annotations(columns, annotations)
        else:
            columns.annotation_counts.append(0)
    _set_numbers(columns, "".join(digits), timestamps, durations)
    return columns


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


@lru_cache(maxsize=65_536)  # endpoints repeat; client ports make the cache turn over, not grow
def _endpoint(
    service: str | None, ipv4: str | None, ipv6: str | None, port: int | None
) -> tuple[str, str, str]:
    """Service, packed address and packed whole of an endpoint."""
    if port is not None and port > 0xFFFF:
        raise Irregular
    endpoint = Endpoint((service or "").lower(), port=max(port or 0, 0))
    for text in (ipv4, ipv6):
        if text:
            endpoint = endpoint.with_ip(text)
    return endpoint.service, pack_address(endpoint), pack_remote(endpoint)


def _set_numbers(
    columns: SpanColumns, digits: str, timestamps: list[int], durations: list[int]
) -> None:
    if digits.encode().translate(None, _HEX):
        raise Irregular
    columns.set_ids(digits)
    if not columns.ids.all() or not (columns.high | columns.low).all():
        raise Irregular
    columns.parents = np.where(columns.parents == columns.ids, np.uint64(0), columns.parents)
    try:
        columns.timestamps = np.maximum(np.array(timestamps, np.int64), 0)
        columns.durations = np.maximum(np.array(durations, np.int64), 0)
    except OverflowError:
        raise Irregular from None
