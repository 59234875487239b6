"""Spans straight into the collector's tables in ClickHouse, without a collector.

The rows are those the collector would write (``lookout_server/store/schema/100_spans.sql``): its
query side answers for both alike. The tables must exist; ``lookout migrate`` makes them. A batch
carries a deduplication token, so a retry after a lost answer inserts nothing twice.
"""

from __future__ import annotations

import datetime
import hashlib
import itertools
import math
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from .backlog import Backlog
from .ledger import REFUSED
from .parcel import Parcel, Refused, Unavailable
from .records import SpanRecord
from .sender import Limits, Sender
from .zipkin_json import Endpoint, ZipkinEncoder, ZipkinSpan

_KINDS = {None: 0, "CLIENT": 1, "SERVER": 2, "PRODUCER": 3, "CONSUMER": 4}
_SHARED, _ERROR, _DEBUG = 8, 16, 32

_BUCKET_US = 300_000_000
_DAY_US = 86_400_000_000
_LAST_DAY = 65_379  # 2149-01-01: the last first of January that ClickHouse's Date can hold
_DAYS_APART = 32  # from the day of receipt on which a span's day is no partition of its own
_EPOCH = datetime.date(1970, 1, 1)
_UINT32 = 0xFFFFFFFF

# From so many distinct values in a batch on, a key's values go to tags_high, unless they repeat.
_MANY_VALUES, _REPEATS = 64, 4

Rows = dict[str, list[Any]]


@dataclass(frozen=True, slots=True)
class Batch:
    """What one insertion knows besides the spans."""

    tenant: str
    received_us: int


def tables(spans: Sequence[ZipkinSpan], batch: Batch) -> dict[str, Rows]:
    """Columns by table for these spans."""
    begun = _beginnings(spans)
    facts = [_Facts.of(span, batch, begun) for span in spans]
    return {
        "spans": _span_rows(spans, facts, batch),
        "trace_index": _index_rows(facts, batch),
        "span_search": _search_rows(spans, facts, batch),
        "span_names": _name_rows(facts, batch),
        "span_counts": _count_rows(facts, batch),
    }


@dataclass(frozen=True, slots=True)
class _Facts:
    """What several tables need of a span."""

    part: datetime.date
    bucket: int
    fold: int
    low: int
    time_us: int
    name: str
    service: str
    remote_service: str
    flags: int

    @classmethod
    def of(cls, span: ZipkinSpan, batch: Batch, begun: Mapping[int, int]) -> _Facts:
        low = int(span.trace_id[-16:], 16)
        # A span without a time is kept where its trace is, if that is known.
        time_us = span.timestamp if span.timestamp > 0 else begun.get(low, batch.received_us)
        return cls(
            part=_partition(time_us, batch.received_us),
            bucket=min(time_us // _BUCKET_US, _UINT32),
            fold=(low ^ low >> 32) & _UINT32,
            low=low,
            time_us=time_us,
            name=(span.name or "").lower(),
            service=_service(span.local_endpoint),
            remote_service=_service(span.remote_endpoint),
            flags=_flags(span),
        )


def _beginnings(spans: Sequence[ZipkinSpan]) -> dict[int, int]:
    """The earliest time of each trace, by its low id."""
    begun: dict[int, int] = {}
    for span in spans:
        if span.timestamp > 0:
            low = int(span.trace_id[-16:], 16)
            begun[low] = min(begun.get(low, span.timestamp), span.timestamp)
    return begun


def _span_rows(spans: Sequence[ZipkinSpan], facts: Sequence[_Facts], batch: Batch) -> Rows:
    low_tags, high_tags = _tags(spans)
    annotations = [_annotations(span) for span in spans]
    return {
        "tenant": [batch.tenant] * len(spans),
        "part": [fact.part for fact in facts],
        "bucket": [fact.bucket for fact in facts],
        "fold": [fact.fold for fact in facts],
        "low": [fact.low for fact in facts],
        "high": [int(span.trace_id[:-16] or "0", 16) for span in spans],
        "ids": [_ids(span) for span in spans],
        "ts": [max(0, span.timestamp) for span in spans],
        "duration": [max(0, span.duration) for span in spans],
        "flags": [fact.flags for fact in facts],
        "name": [fact.name for fact in facts],
        "service": [fact.service for fact in facts],
        "address": [_address(span.local_endpoint) for span in spans],
        "remote": [_remote(span.remote_endpoint) for span in spans],
        "annotation_times": [[at for at, _ in each] for each in annotations],
        "annotations": [[value for _, value in each] for each in annotations],
        "shape": ["\x1f".join(span.tags or ()) for span in spans],
        "tags_low": low_tags,
        "tags_high": high_tags,
    }


def _index_rows(facts: Sequence[_Facts], batch: Batch) -> Rows:
    distinct = dict.fromkeys((fact.part, fact.fold, fact.bucket) for fact in facts)
    return {
        "tenant": [batch.tenant] * len(distinct),
        "part": [part for part, _, _ in distinct],
        "fold": [fold for _, fold, _ in distinct],
        "bucket": [bucket for _, _, bucket in distinct],
    }


def _search_rows(spans: Sequence[ZipkinSpan], facts: Sequence[_Facts], batch: Batch) -> Rows:
    return {
        "tenant": [batch.tenant] * len(facts),
        "part": [fact.part for fact in facts],
        "service": [fact.service for fact in facts],
        "name": [fact.name for fact in facts],
        "second": [min(fact.time_us // 1_000_000, _UINT32) for fact in facts],
        "duration_step": [_duration_step(max(0, span.duration)) for span in spans],
        "error": [int(bool(fact.flags & _ERROR)) for fact in facts],
        "remote_service": [fact.remote_service for fact in facts],
        "fold": [fact.fold for fact in facts],
    }


def _name_rows(facts: Sequence[_Facts], batch: Batch) -> Rows:
    found = dict.fromkeys(itertools.chain.from_iterable(map(_names, facts)))
    today = _EPOCH + datetime.timedelta(days=batch.received_us // _DAY_US)
    return {
        "tenant": [batch.tenant] * len(found),
        "part": [today] * len(found),
        "what": [what for what, _, _ in found],
        "service": [service for _, service, _ in found],
        "value": [value for _, _, value in found],
    }


def _count_rows(facts: Sequence[_Facts], batch: Batch) -> Rows:
    counts = Counter((fact.part, fact.bucket) for fact in facts)
    return {
        "tenant": [batch.tenant] * len(counts),
        "part": [part for part, _ in counts],
        "bucket": [bucket for _, bucket in counts],
        "spans": list(counts.values()),
    }


def _names(fact: _Facts) -> Iterable[tuple[str, str, str]]:
    if fact.service:
        yield "service", "", fact.service
        if fact.name:
            yield "span", fact.service, fact.name
        if fact.remote_service:
            yield "remote", fact.service, fact.remote_service


def _partition(time_us: int, received_us: int) -> datetime.date:
    days = min(time_us // _DAY_US, _LAST_DAY)
    day = _EPOCH + datetime.timedelta(days=days)
    near = abs(days - received_us // _DAY_US) <= _DAYS_APART
    return day if near else day.replace(month=1, day=1)


def _flags(span: ZipkinSpan) -> int:
    return (
        _KINDS[span.kind]
        | (_SHARED if span.shared and span.kind != "CLIENT" else 0)
        | (_ERROR if span.tags and "error" in span.tags else 0)
        | (_DEBUG if span.debug else 0)
    )


def _ids(span: ZipkinSpan) -> bytes:
    """Parent and own id, little endian."""
    parent = span.parent_id if span.parent_id != span.id else None
    ids = int(parent or "0", 16), int(span.id, 16)
    return ids[0].to_bytes(8, "little") + ids[1].to_bytes(8, "little")


def _service(endpoint: Endpoint | None) -> str:
    return (endpoint.service_name or "").lower() if endpoint else ""


def _address(endpoint: Endpoint | None) -> str:
    if endpoint is None or not (endpoint.ipv4 or endpoint.ipv6 or endpoint.port):
        return ""
    return f"{endpoint.ipv4 or ''}|{endpoint.ipv6 or ''}|{endpoint.port or ''}"


def _remote(endpoint: Endpoint | None) -> str:
    service = _service(endpoint)
    address = _address(endpoint)
    return f"{address or '||'}|{service}" if address or service else ""


def _annotations(span: ZipkinSpan) -> list[tuple[int, str]]:
    distinct = {(each.timestamp, each.value) for each in span.annotations or ()}
    return [(at - max(0, span.timestamp), value) for at, value in sorted(distinct)]


def _duration_step(duration_us: int) -> int:
    return min(int(8 * math.log2(duration_us + 1)), 255)


def _tags(spans: Sequence[ZipkinSpan]) -> tuple[list[list[str]], list[list[str]]]:
    """Each span's tags as tokens, those of keys with few values apart from the others."""
    values: dict[str, set[str]] = {}
    totals: dict[str, int] = {}
    for span in spans:
        for key, value in (span.tags or {}).items():
            values.setdefault(key, set()).add(value)
            totals[key] = totals.get(key, 0) + 1
    many = {
        key
        for key, distinct in values.items()
        if len(distinct) > _MANY_VALUES and len(distinct) * _REPEATS > totals[key]
    }
    low, high = [], []
    for span in spans:
        tags = (span.tags or {}).items()
        low.append([_token(key, value) for key, value in tags if key not in many])
        high.append([_token(key, value) for key, value in tags if key in many])
    return low, high


def _token(key: str, value: str) -> str:
    escaped = key.replace("\\", "\\\\").replace("=", "\\=") if "=" in key or "\\" in key else key
    return f"{escaped}={value}"


#: Server errors that are about the rows, not about the server's state (src/Common/ErrorCodes.cpp):
#: bad arguments, types that do not fit, unknown columns.
_PARCEL_IS_BAD = frozenset({6, 16, 20, 27, 36, 41, 43, 53, 69, 70, 131})


class ClickHouseTransport:
    """One connection, used by the one thread that delivers."""

    def __init__(self, url: str, tenant: str, clock: Callable[[], float] = time.time) -> None:
        from clickhouse_driver import errors

        self._errors = errors
        self._url = url
        self._tenant = tenant
        self._clock = clock
        self._encoder = ZipkinEncoder()
        self._client: Any = None

    def encode(self, records: Sequence[SpanRecord]) -> tuple[bytes, int]:
        return (self._encoder.encode(records) if records else b""), 0

    def parcel(self, body: bytes) -> tuple[bytes, str, Mapping[str, str]]:
        return body, "", {"received_us": str(int(self._clock() * 1e6))}

    def split(self, parcel: Parcel) -> Sequence[Parcel]:
        return ()

    def deliver(self, parcel: Parcel, ledger: str, timeout_s: float) -> int:
        spans = msgspec.json.decode(parcel.body, type=list[ZipkinSpan])
        batch = Batch(self._tenant, int(parcel.headers["received_us"]))
        token = hashlib.sha256(parcel.body).hexdigest()
        try:
            for table, columns in tables(spans, batch).items():
                self._insert(table, columns, token, timeout_s)
        except self._errors.ServerException as error:
            self.close()
            if error.code in _PARCEL_IS_BAD:
                raise Refused(_text(error), REFUSED) from None
            raise Unavailable(_text(error)) from None
        except (self._errors.Error, OSError, EOFError) as error:
            self.close()
            raise Unavailable(_text(error)) from None
        return 0

    def close(self) -> None:
        if self._client is not None:
            self._client.disconnect()
            self._client = None

    def after_fork(self) -> None:
        _INHERITED.append(self._client)
        self._client = None

    def _insert(self, table: str, columns: Rows, token: str, timeout_s: float) -> None:
        names = ", ".join(f"`{name}`" for name in columns)
        self._connected(timeout_s).execute(
            f"INSERT INTO {table} ({names}) VALUES",
            list(columns.values()),
            columnar=True,
            settings={"insert_deduplication_token": token, "async_insert": 0},
        )

    def _connected(self, timeout_s: float) -> Any:
        if self._client is None:
            from clickhouse_driver import Client

            self._client = Client.from_url(self._url)
            self._client.connection.connect_timeout = min(5.0, timeout_s)
            self._client.connection.send_receive_timeout = timeout_s
        return self._client


# The parent's connections: closing them here would say goodbye on its sockets.
_INHERITED: list[Any] = []


class ClickHouseDestination(Sender):
    """Inserts into the tables of ``url``'s database under ``tenant``.

    ``url`` has clickhouse-driver's form: ``clickhouse://user:password@host:9000/database``, or
    ``clickhouses://`` with TLS. Raises ImportError without the extra "clickhouse".
    """

    def __init__(
        self,
        url: str = "clickhouse://127.0.0.1:9000/default",
        *,
        name: str = "clickhouse",
        tenant: str = "default",
        spill: str | os.PathLike[str] | None = None,
        spill_bytes: int = 256_000_000,
        limits: Limits | None = None,
    ) -> None:
        # ClickHouse wants few, large insertions.
        limits = limits if limits is not None else _LIMITS
        backlog = Backlog(limits.memory_bytes, spill, spill_bytes)
        super().__init__(name, ClickHouseTransport(url, tenant), limits=limits, backlog=backlog)


_LIMITS = Limits(batch_records=10_000, batch_bytes=16_000_000, linger_s=1.0)


def _text(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:300]
