"""Spans of one body as columns: what decoders give, what the writer turns into tables."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from .model import KIND_CODES, Endpoint, Span
from .remembered import Remembered

#: Bits of the flags column; the three lowest are the kind's code (model.KIND_CODES).
KIND_MASK = 0b111
SHARED = 0b0000_1000
ERROR = 0b0001_0000  # has a tag "error"
DEBUG = 0b0010_0000

#: Between the tag keys of a span's shape. A key that contains it is found too often, never missed.
SHAPE_SEPARATOR = "\x1f"
#: The shape of tag keys.
SHAPES: Remembered[tuple[str, ...], str] = Remembered(
    SHAPE_SEPARATOR.join, size=lambda keys, shape: 2 * len(shape)
)

Ints = npt.NDArray[np.int64]
Ids = npt.NDArray[np.uint64]


class SpanColumns:
    """Equally long columns; annotations and tags are flat, with their counts per span.

    Absent is 0 or "" everywhere. ``shape`` is the span's tag keys joined by SHAPE_SEPARATOR,
    ``local_address`` and ``remote`` are packed by :func:`pack_address` and :func:`pack_remote`.
    """

    __slots__ = (
        "annotation_counts",
        "annotation_times",
        "annotation_values",
        "durations",
        "flags",
        "high",
        "ids",
        "local_address",
        "low",
        "names",
        "parents",
        "received_ms",
        "refusal",
        "refused",
        "remote",
        "remote_services",
        "sampled_out",
        "services",
        "shapes",
        "tag_counts",
        "tag_keys",
        "tag_values",
        "tenant",
        "timestamps",
    )

    def __init__(self) -> None:
        self.tenant = ""
        self.received_ms = 0
        self.refused = 0  # spans of the body that were left out, in protocols that allow it
        self.refusal = ""  # and why the first of them was
        self.sampled_out = 0  # spans of the body that the collector's sample rate left out
        empty_ids = np.empty(0, np.uint64)
        self.high: Ids = empty_ids
        self.low: Ids = empty_ids
        self.parents: Ids = empty_ids
        self.ids: Ids = empty_ids
        self.timestamps: Ints = np.empty(0, np.int64)
        self.durations: Ints = np.empty(0, np.int64)
        self.flags: list[int] = []
        self.names: list[str] = []
        self.services: list[str] = []
        self.local_address: list[str] = []
        self.remote_services: list[str] = []
        self.remote: list[str] = []
        self.shapes: list[str] = []
        self.annotation_counts: list[int] = []
        self.annotation_times: list[int] = []
        self.annotation_values: list[str] = []
        self.tag_counts: list[int] = []
        self.tag_keys: list[str] = []
        self.tag_values: list[str] = []

    def __len__(self) -> int:
        return len(self.flags)

    @classmethod
    def of(cls, spans: Iterable[Span]) -> SpanColumns:
        """Columns of spans that are well-formed already."""
        columns = cls()
        digits: list[str] = []
        times: list[int] = []
        for span in spans:
            digits += (span.trace_id.zfill(32), span.parent_id or "0" * 16, span.id)
            times += (span.timestamp, span.duration)
            columns._add(span)
        columns.set_ids("".join(digits))
        columns.timestamps, columns.durations = np.array(times, np.int64).reshape(-1, 2).T
        return columns

    def set_ids(self, digits: str) -> None:
        """Id columns from hex digits: per span 32 of the trace, 16 of the parent, 16 of itself."""
        self.set_packed_ids(bytes.fromhex(digits))

    def set_packed_ids(self, packed: bytes) -> None:
        """Id columns from bytes in network order: per span 16 of the trace, 8 and 8."""
        columns = np.frombuffer(packed, ">u8").astype(np.uint64).reshape(-1, 4)
        self.high, self.low, self.parents, self.ids = columns.T

    def select(self, keep: npt.NDArray[np.bool_]) -> SpanColumns:
        """The spans where ``keep`` is true."""
        chosen = SpanColumns()
        for name in ("tenant", "received_ms", "refused", "refusal", "sampled_out"):
            setattr(chosen, name, getattr(self, name))
        for name in ("high", "low", "parents", "ids", "timestamps", "durations"):
            setattr(chosen, name, getattr(self, name)[keep])
        marks = keep.tolist()
        for name in _PER_SPAN:
            column = getattr(self, name)
            setattr(chosen, name, [v for v, kept in zip(column, marks, strict=True) if kept])
        annotated = np.repeat(keep, self.annotation_counts).tolist()
        tagged = np.repeat(keep, self.tag_counts).tolist()
        for name, spread in _NESTED:
            column, marks = getattr(self, name), tagged if spread else annotated
            setattr(chosen, name, [v for v, kept in zip(column, marks, strict=True) if kept])
        return chosen

    def _add(self, span: Span) -> None:
        self.flags.append(
            KIND_CODES.get(span.kind, 0)
            | (SHARED if span.shared else 0)
            | (ERROR if "error" in span.tags else 0)
            | (DEBUG if span.debug else 0)
        )
        self.names.append(span.name)
        self.services.append(span.local.service)
        self.local_address.append(pack_address(span.local))
        self.remote_services.append(span.remote.service)
        self.remote.append(pack_remote(span.remote))
        self.shapes.append(SHAPE_SEPARATOR.join(span.tags))
        self.annotation_counts.append(len(span.annotations))
        for timestamp, value in span.annotations:
            self.annotation_times.append(timestamp)
            self.annotation_values.append(value)
        self.tag_counts.append(len(span.tags))
        self.tag_keys.extend(span.tags)
        self.tag_values.extend(span.tags.values())


_PER_SPAN = (
    "flags",
    "names",
    "services",
    "local_address",
    "remote_services",
    "remote",
    "shapes",
    "annotation_counts",
    "tag_counts",
)
_NESTED = (
    ("annotation_times", False),
    ("annotation_values", False),
    ("tag_keys", True),
    ("tag_values", True),
)


def pack_address(endpoint: Endpoint) -> str:
    """``ipv4|ipv6|port`` of an endpoint, "" where it has none of them."""
    if not (endpoint.ipv4 or endpoint.ipv6 or endpoint.port):
        return ""
    return f"{endpoint.ipv4}|{endpoint.ipv6}|{endpoint.port or ''}"


def pack_remote(endpoint: Endpoint) -> str:
    """``ipv4|ipv6|port|service``, "" for no endpoint at all."""
    if not any(endpoint):
        return ""
    return f"{endpoint.ipv4}|{endpoint.ipv6}|{endpoint.port or ''}|{endpoint.service}"


def unpack_endpoint(packed: str, service: str = "") -> Endpoint:
    """The endpoint of :func:`pack_address` with its service, or of :func:`pack_remote`."""
    if not packed:
        return Endpoint(service)
    ipv4, ipv6, port, *rest = packed.split("|", 3)
    return Endpoint(rest[0] if rest else service, ipv4, ipv6, int(port or 0))
