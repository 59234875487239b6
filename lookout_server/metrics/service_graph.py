"""Which service calls which, from pairs of client and server spans.

The metrics have the names Grafana's service graph reads (those of Tempo's processor). A client span
waits a while for the server span it is the parent of (or shares its id with, as Zipkin allows);
one whose server never reports is counted by the name the client knows it by.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np

from ..spans.columns import ERROR, KIND_MASK, SHARED, SpanColumns
from ..spans.model import KIND_CODES
from .span_histograms import DurationHistogram, add

_CLIENT, _SERVER = KIND_CODES["CLIENT"], KIND_CODES["SERVER"]
_PRODUCER, _CONSUMER = KIND_CODES["PRODUCER"], KIND_CODES["CONSUMER"]


class Edge(NamedTuple):
    """A caller, whom it calls, and what kind of connection that is ("" for plain calls)."""

    client: str
    server: str
    connection: str


@dataclass(slots=True)
class EdgeCounts:
    """Since the edge was first seen."""

    client_seconds: DurationHistogram
    server_seconds: DurationHistogram
    total: int = 0
    failed: int = 0


class _Half(NamedTuple):
    """One side of a call that waits for the other."""

    is_client: bool
    service: str
    remote: str
    seconds: float
    failed: bool
    messaging: bool
    seen_ms: int


class _Call(NamedTuple):
    """A call as its client saw it and, where it reported, its server; in seconds."""

    client: float
    server: float | None
    failed: bool


_Calls: TypeAlias = dict[tuple[str, Edge], list[_Call]]


class ServiceGraph:
    """Pairs spans on the writer's thread. Bounded in waiting spans and in edges."""

    def __init__(
        self, most_edges: int = 5_000, most_waiting: int = 50_000, wait_ms: int = 10_000
    ) -> None:
        self._most_edges, self._most_waiting, self._wait_ms = most_edges, most_waiting, wait_ms
        self._waiting: OrderedDict[tuple[str, int, int], _Half] = OrderedDict()
        self._edges: dict[tuple[str, Edge], EdgeCounts] = {}
        self._lock = threading.Lock()

    def locked(self) -> threading.Lock:
        """Held while the edges are read."""
        return self._lock

    def read(self) -> dict[tuple[str, Edge], EdgeCounts]:
        """Counts by tenant and edge; to be used under :meth:`locked` only."""
        return self._edges

    def observe(self, batch: Iterable[SpanColumns], now_ms: int) -> None:
        """Take in stored spans."""
        with self._lock:
            calls: dict[tuple[str, Edge], list[_Call]] = {}
            for columns in batch:
                for key, half in _halves(columns, now_ms):
                    self._pair(key, half, calls)
            self._give_up(now_ms, calls)
            for (tenant, edge), made in calls.items():
                self._count(tenant, edge, made, now_ms)

    def _pair(self, key: tuple[str, int, int], half: _Half, calls: _Calls) -> None:
        other = self._waiting.get(key)
        if other is None or other.is_client == half.is_client:
            self._waiting[key] = half
            return
        del self._waiting[key]
        client, server = (half, other) if half.is_client else (other, half)
        connection = "messaging_system" if half.messaging or other.messaging else ""
        edge = Edge(client.service, server.service, connection)
        call = _Call(client.seconds, server.seconds, client.failed or server.failed)
        calls.setdefault((key[0], edge), []).append(call)

    def _give_up(self, now_ms: int, calls: _Calls) -> None:
        """Count what waited in vain, if it knows whom it called."""
        while self._waiting:
            key, half = next(iter(self._waiting.items()))
            if len(self._waiting) <= self._most_waiting and half.seen_ms + self._wait_ms > now_ms:
                return
            del self._waiting[key]
            if half.is_client and half.remote:
                edge = Edge(half.service, half.remote, "virtual_node")
                call = _Call(half.seconds, None, half.failed)
                calls.setdefault((key[0], edge), []).append(call)

    def _count(self, tenant: str, edge: Edge, made: list[_Call], now_ms: int) -> None:
        counts = self._counts(tenant, edge, now_ms)
        if counts is None:
            return
        counts.total += len(made)
        counts.failed += sum(call.failed for call in made)
        _add(counts.client_seconds, [call.client for call in made])
        _add(counts.server_seconds, [call.server for call in made if call.server is not None])

    def _counts(self, tenant: str, edge: Edge, now_ms: int) -> EdgeCounts | None:
        counts = self._edges.get((tenant, edge))
        if counts is None and len(self._edges) < self._most_edges:
            counts = EdgeCounts(DurationHistogram(now_ms), DurationHistogram(now_ms))
            self._edges[tenant, edge] = counts
        return counts


def _halves(columns: SpanColumns, now_ms: int) -> Iterator[tuple[tuple[str, int, int], _Half]]:
    flags = np.array(columns.flags, dtype=np.int64)
    kinds = flags & KIND_MASK
    clients = (kinds == _CLIENT) | (kinds == _PRODUCER)
    servers = (kinds == _SERVER) | (kinds == _CONSUMER)
    rows = np.flatnonzero(clients | servers)
    # The id the other side knows: a client's own; a server's parent, or its own if it is shared.
    own = clients | ((flags & SHARED) != 0) | (columns.parents == 0)
    ids = np.where(own, columns.ids, columns.parents)[rows].tolist()
    low, seconds = columns.low[rows].tolist(), (columns.durations[rows] / 1e6).tolist()
    for place, row in enumerate(rows.tolist()):
        flag = columns.flags[row]
        kind = flag & KIND_MASK
        half = _Half(
            is_client=kind in (_CLIENT, _PRODUCER),
            service=columns.services[row],
            remote=columns.remote_services[row],
            seconds=seconds[place],
            failed=bool(flag & ERROR),
            messaging=kind in (_PRODUCER, _CONSUMER),
            seen_ms=now_ms,
        )
        yield (columns.tenant, low[place], ids[place]), half


def _add(histogram: DurationHistogram, seconds: list[float]) -> None:
    add([histogram], np.zeros(len(seconds), dtype=np.int64), np.array(seconds, dtype=np.float64))
