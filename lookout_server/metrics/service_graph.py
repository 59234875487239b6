"""Which service calls which, from pairs of client and server spans.

The metrics have the names Grafana's service graph reads (those of Tempo's processor). A client span
waits a while for the server span it is the parent of (or shares its id with, as Zipkin allows);
one whose server never reports is counted by the name the client knows it by.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ..spans.columns import ERROR, KIND_MASK, SHARED
from ..spans.model import KIND_CODES
from ..spans.packed import DURATION, ID, LOW, PARENT, REMOTE_SERVICE, SERVICE, PackedSpans
from ..spans.united import Numbers, United
from .span_histograms import Bools, DurationColumns, Durations, Floats, Ints

_CLIENT, _SERVER = KIND_CODES["CLIENT"], KIND_CODES["SERVER"]
_PRODUCER, _CONSUMER = KIND_CODES["PRODUCER"], KIND_CODES["CONSUMER"]
_PLAIN, _MESSAGING, _VIRTUAL = range(3)
_CONNECTIONS = ("", "messaging_system", "virtual_node")


class Edge(NamedTuple):
    """A caller, whom it calls, and what kind of connection that is ("" for plain calls)."""

    client: str
    server: str
    connection: str


class EdgeCounts(NamedTuple):
    """Edges of a tenant and their calls since each was first seen."""

    edges: list[Edge]
    client_seconds: DurationColumns  # of all calls
    server_seconds: DurationColumns  # of those the server reported too
    failed: Ints


class ServiceGraph:
    """Pairs spans on the observers' thread. Bounded in waiting spans and in edges."""

    def __init__(
        self, most_edges: int = 5_000, most_waiting: int = 50_000, wait_ms: int = 10_000
    ) -> None:
        self._most_waiting, self._wait_ms = most_waiting, wait_ms
        self._tenants = _Tenants()
        self._waiting = _halves([], self._tenants, 0)
        self._edges = _Edges(most_edges, self._tenants)
        self._lock = threading.Lock()

    def read(self) -> dict[str, EdgeCounts]:
        """Counts by tenant, as they are now."""
        with self._lock:
            return self._edges.read()

    def observe(self, batch: Sequence[PackedSpans], now_ms: int) -> None:
        """Take in stored spans."""
        with self._lock:
            halves = self._waiting.followed_by(_halves(batch, self._tenants, now_ms))
            pairs, rest = _paired(halves)
            expired = halves.seen_ms[rest] + self._wait_ms <= now_ms
            expired[: max(0, len(rest) - self._most_waiting)] = True
            self._waiting = halves.take(rest[~expired])
            self._edges.count_pairs(halves, pairs, now_ms)
            self._edges.count_virtual(halves, rest[expired], now_ms)


class _Tenants:
    """A number for each tenant; there are only so many of them."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._numbers: dict[str, int] = {}

    def number(self, name: str) -> int:
        number = self._numbers.setdefault(name, len(self.names))
        if number == len(self.names):
            self.names.append(name)
        return number


@dataclass(frozen=True, slots=True)
class _Halves:
    """Sides of calls, equally long columns in the order of arrival."""

    tenant: Ints  # its number
    low: npt.NDArray[np.uint64]
    id: npt.NDArray[np.uint64]  # the span id both sides know
    is_client: Bools
    service: npt.NDArray[np.object_]
    remote: npt.NDArray[np.object_]
    seconds: Floats
    failed: Bools
    messaging: Bools
    seen_ms: Ints

    def __len__(self) -> int:
        return len(self.low)

    def take(self, places: Ints) -> _Halves:
        return _Halves(*(column[places] for column in self._columns()))

    def followed_by(self, other: _Halves) -> _Halves:
        both = zip(self._columns(), other._columns(), strict=True)
        return _Halves(*(np.concatenate(pair) for pair in both))

    def by_call(self) -> tuple[Ints, Bools]:
        """Places in an order in which halves of one call stand together, as they came; of each but
        the last, whether the next one is of the same call.

        Numbers are sorted that begin with a hash of tenant, trace and span and end with the place:
        several times as fast as a stable sort by the hash. Calls hardly ever have the same hash.
        """
        mixed = (self.low ^ np.uint64(0x9E3779B97F4A7C15)) * np.uint64(0xBF58476D1CE4E5B9)
        mixed ^= (self.id + np.uint64(0x94D049BB133111EB)) * np.uint64(0x2545F4914F6CDD1D)
        mixed ^= self.tenant.astype(np.uint64) * np.uint64(0xD6E8FEB86659FD93)
        bits = np.uint64(len(self).bit_length())
        places = np.arange(len(self), dtype=np.uint64)
        hashes = (mixed * np.uint64(0x9E3779B97F4A7C15)) >> bits << bits
        sorted_hashes = np.sort(hashes | places)
        order: Ints = (sorted_hashes & ((np.uint64(1) << bits) - np.uint64(1))).astype(np.int64)
        same: Bools = (sorted_hashes[1:] ^ sorted_hashes[:-1]) >> bits == 0
        likely = np.flatnonzero(same)
        same[likely] = self.same_call(order[likely], order[likely + 1])
        return order, same

    def same_call(self, one: Ints, other: Ints) -> Bools:
        """Whether the halves at these places know the same span."""
        same: Bools = (self.low[one] == self.low[other]) & (self.id[one] == self.id[other])
        same &= self.tenant[one] == self.tenant[other]
        return same

    def _columns(self) -> Iterator[npt.NDArray[Any]]:
        return (getattr(self, field.name) for field in fields(self))


def _halves(batch: Sequence[PackedSpans], tenants: _Tenants, now_ms: int) -> _Halves:
    """The spans that have another side, as they came."""
    numbers = Numbers(batch)
    flags = numbers.flags
    kinds = flags & KIND_MASK
    messaging = (kinds == _PRODUCER) | (kinds == _CONSUMER)
    clients = (kinds == _CLIENT) | (kinds == _PRODUCER)
    rows = np.flatnonzero(clients | (kinds == _SERVER) | (kinds == _CONSUMER))
    ids, parents = numbers.ids(ID), numbers.ids(PARENT)
    # The id the other side knows: a client's own; a server's parent, or its own if it is shared.
    own = clients | ((flags & SHARED) != 0) | (parents == 0)
    owners = np.array([tenants.number(one.tenant) for one in batch], np.int64)
    return _Halves(
        np.repeat(owners, [len(one) for one in batch])[rows],
        numbers.ids(LOW)[rows],
        np.where(own, ids, parents)[rows],
        clients[rows],
        _texts(numbers.words(SERVICE), rows),
        _texts(numbers.words(REMOTE_SERVICE), rows),
        numbers.longs[DURATION][rows] / 1e6,
        (flags[rows] & ERROR) != 0,
        messaging[rows],
        np.full(len(rows), now_ms, np.int64),
    )


def _texts(words: United, rows: Ints) -> npt.NDArray[np.object_]:
    return np.array([*words.texts, ""], object)[words.codes[rows]]


def _paired(halves: _Halves) -> tuple[Ints, Ints]:
    """Places of (client, server) of each call, one a row, and of what waits on, in order.

    Halves of one call pair in the order they came. Where two of the same side follow each other,
    the second takes the place of the first, or waits after the first was paired.
    """
    order, same = halves.by_call()
    if not len(order):
        return np.zeros((0, 2), np.int64), order
    sides = halves.is_client[order]
    alternate = same & (sides[:-1] != sides[1:])
    places = np.arange(len(order))
    begins = np.maximum.accumulate(np.where(np.append(True, ~alternate), places, 0))
    opens = (places - begins) % 2 == 0  # of sides in turn each second one answers the one before
    first = np.flatnonzero(opens[:-1] & alternate)
    one, other = order[first], order[first + 1]
    swapped = halves.is_client[other]
    pairs = np.stack([np.where(swapped, other, one), np.where(swapped, one, other)], axis=1)
    opens[first] = False
    opens &= ~np.append(same, False)  # replaced
    return pairs, np.sort(order[opens])


class _Edges:
    """Counts by edge, side by side."""

    def __init__(self, most: int, tenants: _Tenants) -> None:
        self._most = most
        self._tenants = tenants
        self._numbers: dict[tuple[str, Edge], int] = {}
        self._client_seconds, self._server_seconds = Durations(), Durations()
        self._failed: Ints = np.zeros(most, np.int64)

    def read(self) -> dict[str, EdgeCounts]:
        of_tenant: dict[str, list[tuple[Edge, int]]] = {}
        for (tenant, edge), number in self._numbers.items():
            of_tenant.setdefault(tenant, []).append((edge, number))
        return {tenant: self._counts(found) for tenant, found in of_tenant.items()}

    def _counts(self, found: list[tuple[Edge, int]]) -> EdgeCounts:
        numbers = np.array([number for _, number in found], np.int64)
        return EdgeCounts(
            [edge for edge, _ in found],
            self._client_seconds.columns(numbers),
            self._server_seconds.columns(numbers),
            self._failed[numbers],
        )

    def count_pairs(self, halves: _Halves, pairs: Ints, now_ms: int) -> None:
        """Calls both sides reported; places of (client, server), one a row."""
        if not len(pairs):
            return
        client, server = halves.take(pairs[:, 0]), halves.take(pairs[:, 1])
        connections = np.where(client.messaging | server.messaging, _MESSAGING, _PLAIN)
        numbers = self._of(client.tenant, client.service, server.service, connections, now_ms)
        self._count(numbers, client.seconds, client.failed | server.failed)
        kept = numbers >= 0
        self._server_seconds.add(numbers[kept], server.seconds[kept])

    def count_virtual(self, halves: _Halves, given_up: Ints, now_ms: int) -> None:
        """Clients whose server did not report, if they know whom they called."""
        clients = given_up[halves.is_client[given_up]]
        calls = halves.take(clients[halves.remote[clients] != ""])
        if not len(calls):
            return
        connections = np.full(len(calls), _VIRTUAL)
        numbers = self._of(calls.tenant, calls.service, calls.remote, connections, now_ms)
        self._count(numbers, calls.seconds, calls.failed)

    def _count(self, numbers: Ints, client_seconds: Floats, failed: Bools) -> None:
        kept = numbers >= 0
        self._client_seconds.add(numbers[kept], client_seconds[kept])
        np.add.at(self._failed, numbers[kept & failed], 1)

    def _of(
        self,
        tenants: Ints,
        clients: npt.NDArray[np.object_],
        servers: npt.NDArray[np.object_],
        connections: npt.NDArray[np.int64],
        now_ms: int,
    ) -> Ints:
        """The number of each call's edge; -1 where there are too many edges."""
        packed = connections.astype(np.int64) << 20 | tenants  # a batch has no 2^20 of any
        for column in (clients, servers):
            packed = packed << 20 | _codes(column)
        _, first, which = np.unique(packed, return_index=True, return_inverse=True)
        numbers = [
            self._number(
                self._tenants.names[tenants[at]],
                Edge(clients[at], servers[at], _CONNECTIONS[connections[at]]),
                now_ms,
            )
            for at in first.tolist()
        ]
        found: Ints = np.array(numbers, np.int64)[which]
        return found

    def _number(self, tenant: str, edge: Edge, now_ms: int) -> int:
        number = self._numbers.get((tenant, edge))
        if number is not None:
            return number
        if len(self._numbers) >= self._most:
            return -1
        self._server_seconds.begin(now_ms)
        number = self._numbers[tenant, edge] = self._client_seconds.begin(now_ms)
        return number


def _codes(texts: npt.NDArray[np.object_]) -> Ints:
    """A number for each text, the same for the same."""
    column = pa.array(texts, pa.string()).dictionary_encode()
    return np.asarray(column.indices.to_numpy(), np.int64)
