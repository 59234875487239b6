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
import pyarrow as pa

from ..spans.columns import ERROR, KIND_MASK, SpanColumns
from ..spans.model import KINDS
from . import span_histograms
from .span_histograms import DurationHistogram, Floats, Ints

#: What a span's name becomes in metrics when a tenant has too many keys.
OTHER = "other"


class SpanKey(NamedTuple):
    """What the metrics of a span are kept by."""

    service: str
    name: str
    kind: str
    status: str


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
        self._tenants: dict[str, dict[SpanKey, DurationHistogram]] = {}
        self._exemplars: dict[tuple[str, SpanKey], SpanExemplar] = {}

    def observe(self, batch: Iterable[SpanColumns], now_ms: int) -> None:
        """Take in stored spans."""
        by_tenant: dict[str, list[SpanColumns]] = {}
        for columns in batch:
            if len(columns):
                by_tenant.setdefault(columns.tenant, []).append(columns)
        with self._lock:
            for tenant, rows in by_tenant.items():
                self._observe(tenant, rows, now_ms)

    def read(self) -> dict[str, dict[SpanKey, DurationHistogram]]:
        """The histograms by tenant; to be used under :meth:`locked` only."""
        return self._tenants

    def locked(self) -> threading.Lock:
        """Held while the histograms are read."""
        return self._lock

    def take_exemplars(self) -> dict[tuple[str, SpanKey], SpanExemplar]:
        """The exemplars since the last call."""
        taken, self._exemplars = self._exemplars, {}
        return taken

    def _observe(self, tenant: str, rows: Sequence[SpanColumns], now_ms: int) -> None:
        services, service_names = _encoded([name for one in rows for name in one.services])
        names, span_names = _encoded([name for one in rows for name in one.names])
        flags = np.array([flag for one in rows for flag in one.flags], dtype=np.int64)
        seconds = np.concatenate([one.durations for one in rows]) / 1e6
        packed = (services << 36) | (names << 8) | (flags & (KIND_MASK | ERROR))
        distinct, keys = np.unique(packed, return_inverse=True)
        known = self._tenants.setdefault(tenant, {})
        used = [
            self._key(
                known, service_names[code >> 36], span_names[(code >> 8) & _NAME], code, now_ms
            )
            for code in distinct.tolist()
        ]
        merged = {key: place for place, key in enumerate(dict.fromkeys(used))}
        keys = np.array([merged[key] for key in used], dtype=np.int64)[keys]
        span_histograms.add([known[key] for key in merged], keys, seconds)
        self._keep_slowest(tenant, list(merged), keys, seconds, rows, now_ms)

    def _key(
        self,
        known: dict[SpanKey, DurationHistogram],
        service: str,
        name: str,
        flags: int,
        now_ms: int,
    ) -> SpanKey:
        """The key of a span, among the known ones afterwards."""
        kind = (KINDS[flags & KIND_MASK] or "internal").lower()
        key = SpanKey(service, name, kind, "error" if flags & ERROR else "ok")
        if key not in known and len(known) >= self._most_keys:
            key = key._replace(name=OTHER)
        if key not in known:
            known[key] = DurationHistogram(now_ms)
        return key

    def _keep_slowest(
        self,
        tenant: str,
        used: list[SpanKey],
        keys: Ints,
        seconds: Floats,
        rows: Sequence[SpanColumns],
        now_ms: int,
    ) -> None:
        order = np.lexsort((seconds, keys))
        last = order[np.append(keys[order][1:] != keys[order][:-1], True)]
        ids = [np.concatenate([getattr(one, name) for one in rows]) for name in _IDS]
        for at in last.tolist():
            place = (tenant, used[int(keys[at])])
            before = self._exemplars.get(place)
            if before is None or before.seconds < seconds[at]:
                high, low, span = (int(column[at]) for column in ids)
                trace_id = f"{high:016x}{low:016x}" if high else f"{low:016x}"
                exemplar = SpanExemplar(float(seconds[at]), trace_id, f"{span:016x}", now_ms)
                self._exemplars[place] = exemplar


_IDS = ("high", "low", "ids")
_NAME = 0xFFFFFFF  # the bits of a name's code


def _encoded(texts: Sequence[str]) -> tuple[Ints, list[str]]:
    """Codes into the distinct texts."""
    column = pa.array(texts, pa.string()).dictionary_encode()
    return column.indices.to_numpy().astype(np.int64), column.dictionary.to_pylist()
