"""Dependency links of many traces at once, with NumPy.

The rules of :mod:`.linker` over whole columns, some forty times as fast. Traces that need
:func:`.tree.merge` to become a tree (spans in pieces, two roots, flags that are missing) are left
to the linker itself, so both give the same links for any spans.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ...spans.columns import ERROR, KIND_MASK, SHARED, unpack_endpoint
from ...spans.model import KIND_CODES, KINDS, Endpoint, Span
from .link_sums import LinkSums, bytes_of_names, of_used, summed
from .linker import Linker

#: What :func:`link_traces` reads, from the table ``spans``.
LINK_COLUMNS = (
    "low, bucket, reinterpretAsUInt64(substring(ids, 1, 8)) AS parent, "
    "reinterpretAsUInt64(substring(ids, 9, 8)) AS id, ts, flags, service, address, "
    "replaceRegexpOne(remote, '^[^|]*[|][^|]*[|][^|]*[|]?', '') AS remote_service"
)
_CLIENT, _SERVER, _PRODUCER, _CONSUMER = (
    KIND_CODES[name] for name in ("CLIENT", "SERVER", "PRODUCER", "CONSUMER")
)
#: Hops to a root that are followed; a deeper trace, or a cycle, is left to the linker.
_DEPTH_MOST = 128
_NOBODY = 0  # code of the service without a name
#: The order of a trace's spans that :func:`.linker.link_traces` gets.
BY_TIME = itemgetter(
    "bucket", "ts", "id", "parent", "flags", "service", "address", "remote_service"
)
_ODD = np.uint64(0x9E3779B97F4A7C15)  # mixes well: 2**64 by the golden ratio

_Number = TypeVar("_Number", bound=np.integer[Any])
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


def link_traces(table: pa.Table) -> LinkedTraces:
    """Links of whole traces, each known by when its spans were."""
    return link_distinct(table)[0]


def link_distinct(table: pa.Table) -> tuple[LinkedTraces, pa.Table]:
    """The same, and the spans without those sent again."""
    if table.num_rows == 0:
        none = np.empty(0, np.int64)
        nothing = LinkedTraces([], none, none, none, none, none, none, np.empty(0, bool))
        return nothing, table
    table = _distinct(table)
    spans = _Spans(table)
    links = _Links()
    _link_clean(spans, spans.clean, links)
    _link_messy(spans, links)
    return links.of_traces(spans), table


def link_homes(table: pa.Table, buckets: Sequence[int], reach: int) -> list[tuple[int, LinkSums]]:
    """The links of the traces that begin in each of some buckets, some of them in pieces.

    Of a trace each bucket sees what lies up to ``reach`` buckets around it, as if it were linked
    alone: what a longer one gives does not depend on which buckets are linked together.
    """
    long = _longer(table, reach)
    linked = link_traces(table.filter(pa.array(~long)))
    found = [(bucket, linked.sums(linked.home == bucket)) for bucket in buckets]
    rest = table.filter(pa.array(long))
    if not rest.num_rows:
        return found
    places = _numbers(rest, "bucket").astype(np.int64)
    for bucket in buckets:
        linked = link_traces(rest.filter(pa.array(np.abs(places - bucket) <= reach)))
        found.append((bucket, linked.sums(linked.home == bucket)))
    return found


def _longer(table: pa.Table, reach: int) -> Bools:
    """Which spans are of traces that have some more than so many buckets apart."""
    _, trace = np.unique(_numbers(table, "low"), return_inverse=True)
    bucket = _numbers(table, "bucket").astype(np.int64)
    count = int(trace.max(initial=-1)) + 1
    first, last = np.full(count, np.iinfo(np.int64).max), np.zeros(count, np.int64)
    np.minimum.at(first, trace, bucket)
    np.maximum.at(last, trace, bucket)
    longer: Bools = (last - first > reach)[trace]
    return longer


def _distinct(table: pa.Table) -> pa.Table:
    """The spans without those sent again, which count once as in Zipkin, where they are merged."""
    numbers = [_numbers(table, name) for name in ("low", "id", "parent", "ts", "flags")]
    mixed = np.zeros(table.num_rows, np.uint64)
    for column in numbers:
        mixed = (mixed ^ column.astype(np.uint64)) * _ODD
        mixed ^= mixed >> np.uint64(29)
    if len(distinct(mixed)) == len(mixed):
        return table
    order = np.argsort(mixed, kind="stable")
    again = np.zeros(table.num_rows, bool)
    again[1:] = mixed[order[1:]] == mixed[order[:-1]]
    for column in numbers:
        again[1:] &= column[order[1:]] == column[order[:-1]]
    places = np.flatnonzero(again)
    if not len(places):
        return table
    one, other = (table.take(pa.array(order[at])) for at in (places, places - 1))
    for name in ("service", "address", "remote_service"):
        equal = pc.equal(*(_plain(each.column(name).combine_chunks()) for each in (one, other)))
        again[places] &= equal.to_numpy(zero_copy_only=False)
    kept = np.ones(table.num_rows, bool)
    kept[order[again]] = False
    return table.filter(pa.array(kept))


def distinct(values: npt.NDArray[_Number]) -> npt.NDArray[_Number]:
    """The values once each, in order: np.unique takes 24 times as long for 40,000 that differ."""
    ordered = np.sort(values)
    once: npt.NDArray[_Number] = ordered[
        np.concatenate((ordered[:1] == ordered[:1], ordered[1:] != ordered[:-1]))
    ]
    return once


@dataclass(frozen=True, slots=True)
class LinkedTraces:
    """Calls and times of traces: any choice of the traces can be summed."""

    names: list[str]
    #: By trace: the five minutes of its first timed span.
    home: Ints
    #: By timed span: its trace and its time in ms.
    span_trace: Ints
    span_ms: Ints
    #: By call: its trace, the codes of both names, and whether it was in error.
    trace: Ints
    parent: Ints
    child: Ints
    error: Bools

    @property
    def nbytes(self) -> int:
        """Memory it takes, about."""
        columns = 2 * self.span_ms.nbytes + 3 * self.trace.nbytes + self.error.nbytes
        return self.home.nbytes + columns + bytes_of_names(self.names)

    def between(self, since_ms: int, until_ms: int) -> Bools:
        """Which traces have a span in the range, both ends in it."""
        hit = (self.span_ms >= since_ms) & (self.span_ms <= until_ms)
        return np.bincount(self.span_trace[hit], minlength=len(self.home)) > 0

    def begun_ms(self) -> Ints:
        """When each trace had its first timed span; 0 where none is timed."""
        begun = np.full(len(self.home), np.iinfo(np.int64).max)
        np.minimum.at(begun, self.span_trace, self.span_ms)
        return np.where(begun == np.iinfo(np.int64).max, 0, begun)

    def earliest(self) -> dict[int, int]:
        """When the first trace of each five minutes began, of those that have a time."""
        timed = self.home[self.span_trace]  # by span
        places = distinct(timed)
        first = np.full(len(places), np.iinfo(np.int64).max)
        np.minimum.at(first, np.searchsorted(places, timed), self.span_ms)
        return dict(zip(places.tolist(), first.tolist(), strict=True))

    def select(self, traces: Bools) -> LinkedTraces:
        """The chosen traces alone."""
        number = np.cumsum(traces) - 1
        spans, calls = traces[self.span_trace], traces[self.trace]
        names, parent, child = of_used(self.names, self.parent[calls], self.child[calls])
        return LinkedTraces(
            names,
            self.home[traces],
            number[self.span_trace[spans]],
            self.span_ms[spans],
            number[self.trace[calls]],
            parent,
            child,
            self.error[calls],
        )

    def sums(self, traces: Bools) -> LinkSums:
        """The links of the chosen traces."""
        calls = traces[self.trace]
        error = self.error[calls].astype(np.int64)
        return summed(self.names, self.parent[calls], self.child[calls], None, error)


class _Spans:
    """The columns in the order of traces, with each span's place in its trace's tree."""

    def __init__(self, table: pa.Table) -> None:
        order = np.argsort(_numbers(table, "low"), kind="stable")
        table = table.take(pa.array(order))
        self._table = table
        low = _numbers(table, "low")
        starts = np.concatenate(([True], low[1:] != low[:-1]))
        self.trace: Ints = np.cumsum(starts) - 1
        self.count = int(self.trace[-1]) + 1
        flags = _numbers(table, "flags")
        self.kind = (flags & KIND_MASK).astype(np.int64)
        self.shared: Bools = (flags & SHARED) != 0
        self.error: Bools = (flags & ERROR) != 0
        self.id, self.parent_id, self._has_parent = _id_codes(table)
        self.service, self.remote, self.names = _service_codes(table)
        address = table.column("address").combine_chunks().dictionary_encode()
        self._address: Ints = address.indices.to_numpy().astype(np.int64)
        self.home, self._timed_traces = self._homes()
        self._messy = np.zeros(self.count, bool)
        self.root = self._roots()
        self.parent = self._parents()
        self._find_cycles()
        self.timed: Bools = self._timed_traces[self.trace]
        self.clean: Bools = ~self._messy[self.trace] & self.timed

    def times(self) -> tuple[Ints, Ints]:
        """Trace and time (ms) of each timed span."""
        time_us = _numbers(self._table, "ts").astype(np.int64)
        timed = time_us != 0
        return self.trace[timed], time_us[timed] // 1000

    def traces(self, mask: Bools) -> Iterator[tuple[int, list[Span]]]:
        """(number of the trace, its spans) for each trace in the mask."""
        places = np.flatnonzero(mask)
        if not len(places):
            return
        rows = self._table.take(pa.array(places)).to_pylist()
        traces: dict[int, list[dict[str, int | str]]] = {}
        for place, row in zip(self.trace[places].tolist(), rows, strict=True):
            traces.setdefault(place, []).append(row)
        for place, found in traces.items():
            # Of pieces that contradict each other the first counts: the same one at each linking.
            yield place, [_span(row) for row in sorted(found, key=BY_TIME)]

    def _homes(self) -> tuple[Ints, Bools]:
        bucket = _numbers(self._table, "bucket").astype(np.int64)
        timed = _numbers(self._table, "ts") != 0
        home = np.full(self.count, np.iinfo(np.int64).max)
        np.minimum.at(home, self.trace[timed], bucket[timed])
        return home, home != np.iinfo(np.int64).max

    def _roots(self) -> Ints:
        """The root of each trace, -1 where it has none."""
        roots = np.flatnonzero(~self._has_parent & ~self.shared)
        root = np.full(self.count, -1)
        root[self.trace[roots]] = roots
        self._messy |= np.bincount(self.trace[roots], minlength=self.count) > 1
        return root

    def _parents(self) -> Ints:
        """Each span's parent; orphans are below the root, and -1 is above all."""
        width = int(max(self.id.max(), self.parent_id.max())) + 1
        key = self.trace * width + self.id
        plain, shared = self._index(key, ~self.shared), self._index(key, self.shared)
        above = np.where(self.shared, key, self.trace * width + self.parent_id)
        parent = plain.find(above)
        # On the same host, a child of an id that two halves share is a child of the server's.
        half = shared.find(above)
        same_host = (half >= 0) & (self.service[half] == self.service)
        same_host &= self._address[half] == self._address
        parent = np.where(same_host & ~self.shared, half, parent)
        is_root = ~self._has_parent & ~self.shared
        parent = np.where(~is_root & (parent < 0), self.root[self.trace], parent)
        parent[is_root] = -1
        # A shared span without parent id takes its other half's, which only the merge knows.
        self._messy[self.trace[self.shared & ~self._has_parent]] = True
        return parent

    def _index(self, key: Ints, mask: Bools) -> _Index:
        index = _Index(key, np.flatnonzero(mask))
        self._messy[self.trace[index.repeated]] = True
        return index

    def _find_cycles(self) -> None:
        at = self.parent.copy()
        for _ in range(_DEPTH_MOST):
            going = at >= 0
            if not going.any():
                return
            at[going] = self.parent[at[going]]
        self._messy[self.trace[at >= 0]] = True


class _Index:
    """Places by key."""

    def __init__(self, key: Ints, places: Ints) -> None:
        order = np.argsort(key[places], kind="stable")
        self._places = places[order]
        self._keys = key[self._places]
        again = np.flatnonzero(self._keys[1:] == self._keys[:-1]) + 1
        self.repeated: Ints = self._places[again]

    def find(self, keys: Ints) -> Ints:
        """The place of each key, -1 where there is none."""
        if not len(self._keys):
            return np.full(len(keys), -1)
        at = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        return np.where(self._keys[at] == keys, self._places[at], -1)


class _Links:
    """Calls that were found, by the codes of their names: one entry a call."""

    def __init__(self) -> None:
        self._traces: list[Ints] = []
        self._parents: list[Ints] = []
        self._children: list[Ints] = []
        self._errors: list[Bools] = []

    def add(
        self, spans: _Spans, mask: Bools, parent: Ints, child: Ints, error: Bools | None
    ) -> None:
        """The calls of the spans in the mask that have both names."""
        mask = mask & (parent != _NOBODY) & (child != _NOBODY)
        trace = spans.trace[mask]
        errors = np.zeros(len(trace), bool) if error is None else error[mask]
        self.add_calls(trace, parent[mask], child[mask], errors)

    def add_calls(self, trace: Ints, parent: Ints, child: Ints, error: Bools) -> None:
        """Equally long columns, one entry a call."""
        self._traces.append(trace)
        self._parents.append(parent)
        self._children.append(child)
        self._errors.append(error)

    def of_traces(self, spans: _Spans) -> LinkedTraces:
        """What was found, with the times of the traces."""
        names, parent, child = of_used(
            spans.names, np.concatenate(self._parents), np.concatenate(self._children)
        )
        return LinkedTraces(
            names,
            spans.home,
            *spans.times(),
            np.concatenate(self._traces),
            parent,
            child,
            np.concatenate(self._errors),
        )


def _link_messy(spans: _Spans, links: _Links) -> None:
    """The links of the traces that only the linker itself gets right."""
    codes = {name: code for code, name in enumerate(spans.names)}
    for place, trace in spans.traces(~spans.clean & spans.timed):
        linker = Linker()
        linker.add_trace(trace)
        for (parent, child), link in linker.links.items():
            links.add_calls(
                np.full(link.calls, place),
                np.full(link.calls, codes[parent]),
                np.full(link.calls, codes[child]),
                np.arange(link.calls) < link.errors,
            )


def _link_clean(spans: _Spans, clean: Bools, links: _Links) -> None:
    """The links of every span in its place; see Linker._add_node for the rules."""
    raw = spans.kind
    both = (spans.service != _NOBODY) & (spans.remote != _NOBODY)
    kind = np.where((raw == 0) & both, _CLIENT, raw)
    has_child = np.bincount(spans.parent[spans.parent >= 0], minlength=len(raw)) > 0
    serves = (kind == _SERVER) | (kind == _CONSUMER)
    parent = np.where(serves, spans.remote, spans.service)
    child = np.where(serves, spans.service, spans.remote)
    is_root = spans.root[spans.trace] == np.arange(len(raw))
    linked = clean & (kind != 0) & ~((raw == _CLIENT) & has_child)
    linked &= ~(serves & is_root & (parent == _NOBODY))
    messaging = (kind == _PRODUCER) | (kind == _CONSUMER)
    links.add(spans, linked & messaging, parent, child, spans.error)
    calling = linked & ~messaging
    ancestor = _remote_ancestors(spans)
    caller = np.where(ancestor >= 0, spans.service[ancestor], _NOBODY)
    known = caller != _NOBODY
    skipped_hop = calling & known & (kind == _CLIENT) & (caller != spans.service)
    links.add(spans, skipped_hop, caller, spans.service, None)
    parent = np.where(known & ((kind == _SERVER) | (parent == _NOBODY)), caller, parent)
    split = known & (raw[ancestor] == _CLIENT) & (spans.parent_id == spans.id[ancestor])
    links.add(spans, calling, parent, child, spans.error | (split & spans.error[ancestor]))


def _remote_ancestors(spans: _Spans) -> Ints:
    """The nearest span above each that has a kind, -1 where there is none."""
    ancestor = spans.parent.copy()
    for _ in range(_DEPTH_MOST):
        local = (ancestor >= 0) & (spans.kind[ancestor] == 0)
        if not local.any():
            break
        ancestor[local] = spans.parent[ancestor[local]]
    return ancestor


def _numbers(table: pa.Table, name: str) -> npt.NDArray[np.uint64]:
    column: npt.NDArray[np.uint64] = table.column(name).to_numpy()
    return column


def _id_codes(table: pa.Table) -> tuple[Ints, Ints, Bools]:
    """Span and parent ids as small numbers that are equal where the ids are."""
    id, parent = _numbers(table, "id"), _numbers(table, "parent")
    _, codes = np.unique(np.concatenate([id, parent]), return_inverse=True)
    return codes[: len(id)], codes[len(id) :], parent != 0


def _service_codes(table: pa.Table) -> tuple[Ints, Ints, list[str]]:
    """Codes of local and remote services, and the names by code; 0 is no name."""
    codes = {"": _NOBODY}
    services, remotes = (
        _coded(table.column(name).combine_chunks(), codes) for name in ("service", "remote_service")
    )
    return services, remotes, list(codes)


def _coded(column: pa.Array, codes: dict[str, int]) -> Ints:
    """A column by the codes of its names, to which those are added that have none."""
    column = column.dictionary_encode()
    names = [codes.setdefault(name, len(codes)) for name in column.dictionary.to_pylist()]
    coded: Ints = np.array(names, np.int64)[column.indices.to_numpy()]
    return coded


def _plain(column: pa.Array) -> pa.Array:
    return pc.cast(column, pa.string())


def _span(row: dict[str, int | str]) -> Span:
    """As much of a span as linking needs."""
    flags, parent = int(row["flags"]), int(row["parent"])
    return Span(
        f"{row['low']:016x}",
        f"{row['id']:016x}",
        f"{parent:016x}" if parent else "",
        KINDS[flags & KIND_MASK],
        local=unpack_endpoint(str(row["address"]), str(row["service"])),
        remote=Endpoint(str(row["remote_service"])),
        tags={"error": ""} if flags & ERROR else {},
        shared=bool(flags & SHARED),
    )
