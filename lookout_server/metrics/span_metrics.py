"""RED metrics from spans: how many, how many failed, how long, by service, name, kind and status.

Computed from every batch of spans once it is stored, so an exemplar's trace can be looked up.
Nothing is sampled here: a client that samples decides what these metrics know.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..spans.columns import ERROR, KIND_MASK
from ..spans.model import KINDS
from ..spans.packed import DURATION, HIGH, ID, LOW, NAME, SERVICE, PackedSpans
from ..spans.united import Numbers
from .span_histograms import DurationColumns, Durations, Floats, Ints

#: What a span's name becomes in metrics when a tenant has too many keys.
OTHER = "other"


class SpanKey(NamedTuple):
    """What the metrics of a span are kept by."""

    service: str
    name: str
    kind: str
    status: str


class SpanCounts(NamedTuple):
    """The keys of a tenant, and what was counted of each."""

    keys: list[SpanKey]
    durations: DurationColumns


@dataclass(frozen=True, slots=True)
class SpanExemplar:
    """A span of a key, the slowest since the last report."""

    seconds: float
    trace_id: str
    span_id: str
    time_ms: int


class SpanMetrics:
    """Accumulates on the writer's thread, is read by the reporter's. Bounded in keys."""

    def __init__(self, most_keys: int) -> None:
        self._most_keys = most_keys
        self._lock = threading.Lock()
        self._tenants: dict[str, _TenantMetrics] = {}

    def observe(self, batch: Iterable[PackedSpans], now_ms: int) -> None:
        """Take in stored spans."""
        by_tenant: dict[str, list[PackedSpans]] = {}
        for columns in batch:
            if len(columns):
                by_tenant.setdefault(columns.tenant, []).append(columns)
        with self._lock:
            for tenant, rows in by_tenant.items():
                if tenant not in self._tenants:
                    self._tenants[tenant] = _TenantMetrics(self._most_keys)
                self._tenants[tenant].observe(rows, now_ms)

    def read(self) -> dict[str, SpanCounts]:
        """The counts by tenant, as they are now."""
        with self._lock:
            return {tenant: metrics.read() for tenant, metrics in self._tenants.items()}

    def take_exemplars(self) -> dict[str, dict[SpanKey, SpanExemplar]]:
        """The exemplars since the last call, by tenant."""
        with self._lock:
            return {tenant: metrics.take_exemplars() for tenant, metrics in self._tenants.items()}


class _TenantMetrics:
    """The keys of one tenant and their histograms, by the number of the key."""

    def __init__(self, most_keys: int) -> None:
        self._most_keys = most_keys
        self._keys: dict[SpanKey, int] = {}
        #: The same by what a batch has at hand; of keys of their own only, which bounds it.
        self._numbers: dict[tuple[str, str, int], int] = {}
        self._durations = Durations()
        self._slowest = _Slowest()

    def observe(self, rows: Sequence[PackedSpans], now_ms: int) -> None:
        columns = Numbers(rows)
        services, names = columns.words(SERVICE), columns.words(NAME)
        flags = columns.flags.astype(np.int64)
        seconds: Floats = columns.longs[DURATION] / 1e6
        packed = services.codes.astype(np.int64) << 36 | names.codes.astype(np.int64) << 8
        distinct, which = np.unique(packed | (flags & _STATUS), return_inverse=True)
        found = [
            (services.texts[code >> 36], names.texts[(code >> 8) & _NAME], code & _STATUS)
            for code in distinct.tolist()
        ]
        numbers = list(map(self._numbers.get, found))
        if None in numbers:
            numbers = [self._number(*one, now_ms) for one in found]
        keys: Ints = np.array(numbers, np.int64)[which]
        self._durations.add(keys, seconds)
        self._slowest.observe(keys, seconds, columns, now_ms)

    def read(self) -> SpanCounts:
        keys = list(self._keys)  # in the order of their numbers
        return SpanCounts(keys, self._durations.columns(np.arange(len(keys))))

    def take_exemplars(self) -> dict[SpanKey, SpanExemplar]:
        keys = list(self._keys)  # in the order of their numbers
        return {keys[number]: exemplar for number, exemplar in self._slowest.take()}

    def _number(self, service: str, name: str, status: int, now_ms: int) -> int:
        number = self._numbers.get((service, name, status))
        if number is not None:
            return number
        kind = (KINDS[status & KIND_MASK] or "internal").lower()
        key = SpanKey(service, name, kind, "error" if status & ERROR else "ok")
        if len(self._keys) >= self._most_keys:
            key = key._replace(name=OTHER)
        else:
            self._numbers[service, name, status] = len(self._keys)
        if key not in self._keys:
            self._keys[key] = self._durations.begin(now_ms)
        return self._keys[key]


class _Slowest:
    """The slowest span of each key since they were taken."""

    def __init__(self) -> None:
        self._seconds: Floats = np.zeros(0)  # -1: none
        self._spans = np.zeros((0, 4), np.uint64)  # high, low, id, Unix ms

    def observe(self, keys: Ints, seconds: Floats, spans: Numbers, now: int) -> None:
        self._grow(int(keys.max()) + 1)
        slower = np.flatnonzero(seconds > self._seconds[keys])
        if not len(slower):
            return
        order = slower[np.lexsort((seconds[slower], keys[slower]))]
        last = order[np.append(keys[order][1:] != keys[order][:-1], True)]
        self._seconds[keys[last]] = seconds[last]
        ids = [spans.ids(column)[last] for column in (HIGH, LOW, ID)]
        self._spans[keys[last]] = np.stack([*ids, np.full(len(last), now, np.uint64)], axis=1)

    def take(self) -> list[tuple[int, SpanExemplar]]:
        """Each with the number of its key."""
        numbers = np.flatnonzero(self._seconds >= 0)
        found = [
            (number, SpanExemplar(seconds, _trace_id(high, low), f"{span:016x}", now))
            for number, seconds, (high, low, span, now) in zip(
                numbers.tolist(),
                self._seconds[numbers].tolist(),
                self._spans[numbers].tolist(),
                strict=True,
            )
        ]
        self._seconds[:] = -1
        return found

    def _grow(self, size: int) -> None:
        if size > len(self._seconds):
            more = max(size, 2 * len(self._seconds)) - len(self._seconds)
            self._seconds = np.append(self._seconds, np.full(more, -1.0))
            self._spans = np.append(self._spans, np.zeros((more, 4), np.uint64), axis=0)


def _trace_id(high: int, low: int) -> str:
    return f"{high:016x}{low:016x}" if high else f"{low:016x}"


_NAME = 0xFFFFFFF  # the bits of a name's code
_STATUS = KIND_MASK | ERROR
