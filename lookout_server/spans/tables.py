"""From columns of many bodies to the Arrow tables that the store inserts.

Deterministic: the same columns in the same order give the same tables, whatever was before.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from .columns import ERROR, Ints, SpanColumns

BUCKET_US = 300_000_000
_DAY_US = 86_400_000_000
#: Spans further than this from the day of receipt share a partition a year: a client with a broken
#: clock can make some 180 partitions, not one for every day of a thousand years.
_DAYS_APART = 32
_LAST_DAY = 65_379  # 2149-01-01, the last first of January that a Date can hold
#: From so many distinct values in a batch on, a tag key's values go to the column for many values,
#: unless they repeat so often that a dictionary still pays.
_MANY_VALUES = 64
_REPEATS = 4

Bools = npt.NDArray[np.bool_]


def span_tables(
    rows: Sequence[SpanColumns], autocomplete_keys: Iterable[str]
) -> dict[str, pa.Table]:
    """Tables of one batch by their name: ``spans`` and what finds them."""
    batch = _Batch(rows)
    return {
        "spans": batch.spans(),
        "trace_index": batch.trace_index(),
        "span_search": batch.search(),
        "span_names": name_table(rows, frozenset(autocomplete_keys)),
        "span_counts": batch.counts(),
    }


def fold_trace_id(low: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint32]:
    """Low trace ids in 32 bits: spread even where clients count instead of drawing lots."""
    return ((low ^ (low >> np.uint64(32))) & np.uint64(0xFFFFFFFF)).astype(np.uint32)


def partition_days(times: Ints, received: Ints) -> Ints:
    """Days since 1970 of the partition of each span; both arguments in microseconds."""
    days = np.minimum(times // _DAY_US, _LAST_DAY)
    years = days.astype("datetime64[D]").astype("datetime64[Y]").astype("datetime64[D]")
    near = np.abs(days - received // _DAY_US) <= _DAYS_APART
    return np.where(near, days, years.astype(np.int64))


def duration_steps(durations: Ints) -> npt.NDArray[np.uint8]:
    """floor(8 log2(duration + 1)), at most 255: steps of 9 %, monotone in the duration."""
    steps = np.floor(8 * np.log2(durations.astype(np.float64) + 1))
    capped: npt.NDArray[np.uint8] = np.minimum(steps, 255).astype(np.uint8)
    return capped


def bucket_of(time_us: int) -> int:
    """The five minutes a time (microseconds) falls into, as stored."""
    return min(max(time_us, 0) // BUCKET_US, 0xFFFFFFFF)


def second_of(time_us: int) -> int:
    """The second of a time (microseconds), as stored."""
    return min(max(time_us, 0) // 1_000_000, 0xFFFFFFFF)


class _Batch:
    """The columns of one batch side by side, and what several tables need of them."""

    def __init__(self, rows: Sequence[SpanColumns]) -> None:
        self._rows = rows
        lengths = [len(columns) for columns in rows]
        self._count = sum(lengths)
        self._tenant = _repeated([columns.tenant for columns in rows], lengths)
        self._high = self._joined("high")
        self._low = self._joined("low")
        self._timestamps: Ints = self._joined("timestamps")
        self._durations: Ints = self._joined("durations")
        self._flags = np.array(self._listed("flags"), np.uint8)
        self._fold = fold_trace_id(self._low)
        received = np.repeat([columns.received_ms for columns in rows], lengths).astype(np.int64)
        self._times = self._effective_times(received * 1000)
        days = partition_days(self._times, received * 1000)
        self._part = pa.array(days.astype(np.int32), pa.int32()).cast(pa.date32())
        self._bucket = np.minimum(self._times // BUCKET_US, 0xFFFFFFFF).astype(np.uint32)
        self._names = _strings(self._listed("names"))
        self._services = _strings(self._listed("services"))

    def spans(self) -> pa.Table:
        ids = np.stack([self._joined("parents"), self._joined("ids")], axis=1).astype("<u8")
        times, annotations = self._annotations()
        low, high = self._tags()
        return pa.table(
            {
                "tenant": self._tenant,
                "part": self._part,
                "bucket": self._bucket,
                "fold": self._fold,
                "low": self._low,
                "high": self._high,
                "ids": pa.FixedSizeBinaryArray.from_buffers(
                    pa.binary(16), self._count, [None, pa.py_buffer(ids.tobytes())]
                ),
                "ts": self._timestamps,
                "duration": self._durations,
                "flags": self._flags,
                "name": self._names,
                "service": self._services,
                "address": _strings(self._listed("local_address")),
                "remote": _strings(self._listed("remote")),
                "annotation_times": times,
                "annotations": annotations,
                "shape": _strings(self._listed("shapes")),
                "tags_low": low,
                "tags_high": high,
            }
        )

    def trace_index(self) -> pa.Table:
        columns = {
            "tenant": self._tenant,
            "part": self._part,
            "fold": self._fold,
            "bucket": self._bucket,
        }
        # Threads would make the order of the groups differ from run to run.
        return pa.table(columns).group_by(list(columns), use_threads=False).aggregate([])

    def counts(self) -> pa.Table:
        columns = {"tenant": self._tenant, "part": self._part, "bucket": self._bucket}
        groups = pa.table(columns).group_by(list(columns), use_threads=False)
        return groups.aggregate([([], "count_all")]).rename_columns([*columns, "spans"])

    def search(self) -> pa.Table:
        return pa.table(
            {
                "tenant": self._tenant,
                "part": self._part,
                "service": self._services,
                "name": self._names,
                "second": np.minimum(self._times // 1_000_000, 0xFFFFFFFF).astype(np.uint32),
                "duration_step": duration_steps(self._durations),
                "error": ((self._flags & ERROR) != 0).astype(np.uint8),
                "remote_service": _strings(self._listed("remote_services")),
                "fold": self._fold,
            }
        )

    def _effective_times(self, received: Ints) -> Ints:
        """Where in time to keep each span; one without timestamp where its trace is, if known."""
        missing = self._timestamps == 0
        if not missing.any():
            return self._timestamps
        order = np.argsort(self._timestamps, kind="stable")
        timed = order[~missing[order]]
        known, first = np.unique(self._low[timed], return_index=True)
        times = self._timestamps.copy()
        times[missing] = received[missing]
        if len(known):
            place = np.minimum(np.searchsorted(known, self._low), len(known) - 1)
            here = missing & (known[place] == self._low)
            times[here] = self._timestamps[timed[first[place[here]]]]
        return times

    def _annotations(self) -> tuple[pa.Array, pa.Array]:
        counts = np.array(self._listed("annotation_counts"), np.int64)
        times = np.array(self._listed("annotation_times"), np.int64)
        relative = times - np.repeat(self._timestamps, counts)  # wraps as it is undone on reading
        values = _strings(self._listed("annotation_values"))
        return _lists(counts, pa.array(relative)), _lists(counts, values)

    def _tags(self) -> tuple[pa.Array, pa.Array]:
        counts = np.array(self._listed("tag_counts"), np.int64)
        keys = _strings(self._listed("tag_keys")).dictionary_encode()
        escaped = _strings([escape_key(key) for key in keys.dictionary.to_pylist()])
        values = _strings(self._listed("tag_values"))
        tokens = pc.binary_join_element_wise(escaped.take(keys.indices), values, "=")
        many = _many_values(keys.indices.to_numpy(), tokens)
        owner = np.repeat(np.arange(self._count), counts)
        return (
            _lists(self._counts_where(owner, ~many), tokens.filter(pa.array(~many))),
            _lists(self._counts_where(owner, many), tokens.filter(pa.array(many))),
        )

    def _counts_where(self, owner: Ints, mask: Bools) -> Ints:
        return np.bincount(owner[mask], minlength=self._count)

    def _joined(self, name: str) -> npt.NDArray[Any]:
        return np.concatenate([getattr(columns, name) for columns in self._rows])

    def _listed(self, name: str) -> list[Any]:
        return list(chain.from_iterable(getattr(columns, name) for columns in self._rows))


def escape_key(key: str) -> str:
    """A tag key as it stands before the ``=`` of a stored tag."""
    if "=" in key or "\\" in key:
        return key.replace("\\", "\\\\").replace("=", "\\=")
    return key


def tag_token(key: str, value: str) -> str:
    """A tag as it is stored, and searched for."""
    return f"{escape_key(key)}={value}"


def split_token(token: str) -> tuple[str, str]:
    """Key and value of a stored tag."""
    if "\\" not in token:
        key, _, value = token.partition("=")
        return key, value
    key_chars: list[str] = []
    chars = iter(token)
    for char in chars:
        if char == "=":
            break
        key_chars.append(next(chars) if char == "\\" else char)
    return "".join(key_chars), "".join(chars)


def name_table(rows: Sequence[SpanColumns], autocomplete_keys: frozenset[str]) -> pa.Table:
    """Distinct names of one batch with the day they were received."""
    seen: dict[tuple[str, str, str, str], int] = {}
    for columns in rows:
        day = columns.received_ms // 86_400_000
        for name in _names(columns, autocomplete_keys):
            seen[(columns.tenant, *name)] = day
    fields: list[list[str]] = [list(field) for field in zip(*seen, strict=True)] or [[], [], [], []]
    tenant, what, service, value = map(_strings, fields)
    part = pa.array(list(seen.values()), pa.int32()).cast(pa.date32())
    return pa.table(
        {"tenant": tenant, "what": what, "service": service, "value": value, "part": part}
    )


def _names(columns: SpanColumns, keys: frozenset[str]) -> Iterable[tuple[str, str, str]]:
    for service in dict.fromkeys(columns.services):
        if service:
            yield "service", "", service

    def pairs(names: list[str]) -> Iterable[tuple[str, str]]:
        return dict.fromkeys(zip(columns.services, names, strict=True))

    for service, name in pairs(columns.names):
        if service and name:
            yield "span", service, name
    for service, remote in pairs(columns.remote_services):
        if service and remote:
            yield "remote", service, remote
    if keys:
        for key, value in dict.fromkeys(zip(columns.tag_keys, columns.tag_values, strict=True)):
            if key in keys:
                yield "tag", key, value


def _many_values(keys: npt.NDArray[np.int32], tokens: pa.Array) -> Bools:
    """For each tag whether its key has many values in this batch."""
    encoded = tokens.dictionary_encode()
    codes = encoded.indices.to_numpy()
    key_of_token = np.zeros(len(encoded.dictionary), np.int64)
    key_of_token[codes] = keys
    distinct = np.bincount(key_of_token, minlength=int(keys.max(initial=-1)) + 1)
    total = np.bincount(keys, minlength=len(distinct))
    many: Bools = (distinct > _MANY_VALUES) & (distinct * _REPEATS > total)
    return many[keys] if len(keys) else np.zeros(0, bool)


def _strings(values: Sequence[str]) -> pa.Array:
    return pa.array(values, pa.string())


def _repeated(values: Sequence[str], counts: Sequence[int]) -> pa.Array:
    index = pa.array(np.repeat(np.arange(len(values)), counts))
    return _strings(values).take(index)


def _lists(counts: Ints, values: pa.Array) -> pa.Array:
    offsets = np.zeros(len(counts) + 1, np.int32)
    np.cumsum(counts, out=offsets[1:])
    return pa.ListArray.from_arrays(pa.array(offsets), values)
