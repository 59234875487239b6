"""From columns of many bodies to the Arrow tables that the store inserts.

Deterministic: the same columns in the same order give the same tables, whatever was before, but
for the names that need not be written again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from .columns import ERROR, Ints
from .known import KnownNames, Name
from .packed import (
    ADDRESS,
    ANNOTATIONS,
    DURATION,
    HIGH,
    ID,
    LOW,
    NAME,
    PARENT,
    REMOTE,
    REMOTE_SERVICE,
    SERVICE,
    SHAPE,
    TAGS,
    TIMESTAMP,
    Codes,
    PackedSpans,
)
from .united import Numbers, United, united_pairs, united_texts

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

#: Distinct combinations are looked up in a table of at most so many places (8 MB), else sorted.
_MOST_PLACES = 1_000_000

Bools = npt.NDArray[np.bool_]


def span_tables(
    rows: Sequence[PackedSpans],
    autocomplete_keys: Iterable[str],
    known: KnownNames | None = None,
) -> dict[str, pa.Table]:
    """Tables of one batch by their name: ``spans`` and what finds them.

    Names that are known are left out of ``span_names``.
    """
    batch = _Batch(rows)
    return {
        "spans": batch.spans(),
        "trace_index": batch.trace_index(),
        "span_search": batch.search(),
        "span_names": batch.names(frozenset(autocomplete_keys), known or KnownNames()),
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

    def __init__(self, rows: Sequence[PackedSpans]) -> None:
        self._rows = rows
        lengths = [len(columns) for columns in rows]
        self._count = sum(lengths)
        self._tenants = _Tenants(rows, lengths)
        self._tenant = self._tenants.as_arrow()
        numbers = self._numbers = Numbers(rows)
        self._high, self._low = numbers.ids(HIGH), numbers.ids(LOW)
        self._timestamps: Ints = numbers.longs[TIMESTAMP]
        self._durations: Ints = numbers.longs[DURATION]
        self._flags = numbers.flags
        self._fold = fold_trace_id(self._low)
        received = np.repeat([columns.received_ms for columns in rows], lengths).astype(np.int64)
        self._received_days = received // 86_400_000
        self._times = self._effective_times(received * 1000)
        days = partition_days(self._times, received * 1000)
        self._part = pa.array(days.astype(np.int32), pa.int32()).cast(pa.date32())
        self._bucket = np.minimum(self._times // BUCKET_US, 0xFFFFFFFF).astype(np.uint32)
        self._names = numbers.words(NAME)
        self._services = numbers.words(SERVICE)
        self._remote_services = numbers.words(REMOTE_SERVICE)

    def spans(self) -> pa.Table:
        ids = self._numbers.longs[PARENT : ID + 1].T.astype("<i8", order="C")
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
                "name": self._names.as_arrow(),
                "service": self._services.as_arrow(),
                "address": self._numbers.words(ADDRESS).as_arrow(),
                "remote": self._numbers.words(REMOTE).as_arrow(),
                "annotation_times": times,
                "annotations": annotations,
                "shape": self._numbers.words(SHAPE).as_arrow(),
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
                "service": self._services.as_arrow(),
                "name": self._names.as_arrow(),
                "second": np.minimum(self._times // 1_000_000, 0xFFFFFFFF).astype(np.uint32),
                "duration_step": duration_steps(self._durations),
                "error": ((self._flags & ERROR) != 0).astype(np.uint8),
                "remote_service": self._remote_services.as_arrow(),
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
        counts = self._numbers.counts(ANNOTATIONS)
        times: Ints = np.concatenate([columns.annotation_times for columns in self._rows])
        relative = times - np.repeat(self._timestamps, counts)  # wraps as it is undone on reading
        values = united_texts([columns.annotation_values for columns in self._rows])
        return _lists(counts, pa.array(relative)), _lists(counts, values.dictionary_encode())

    def _tags(self) -> tuple[pa.Array, pa.Array]:
        """Tags of keys with few values, and those of keys with many."""
        keys = self._tag_keys
        before = [f"{escape_key(key)}=" for key in keys.texts]
        tokens = united_pairs(before, keys.codes, [columns.tag_values for columns in self._rows])
        codes, distinct = tokens.indices.to_numpy(), tokens.dictionary
        many = _many_values(keys.codes, codes, len(distinct))
        owner = np.repeat(np.arange(self._count), self._numbers.counts(TAGS))
        few = pa.DictionaryArray.from_arrays(*_compact(codes[~many], distinct))
        return (
            _lists(self._counts_where(owner, ~many), few),
            _lists(self._counts_where(owner, many), distinct.take(pa.array(codes[many]))),
        )

    @cached_property
    def _tag_keys(self) -> United:
        return United([(columns.words, columns.tag_keys) for columns in self._rows])

    def _counts_where(self, owner: Ints, mask: Bools) -> Ints:
        return np.bincount(owner[mask], minlength=self._count)

    def names(self, autocomplete_keys: frozenset[str], known: KnownNames) -> pa.Table:
        """Distinct names that are new, with the day they were received."""
        found = [
            self._distinct("service", None, self._services),
            self._distinct("span", self._services, self._names),
            self._distinct("remote", self._services, self._remote_services),
        ]
        if autocomplete_keys:
            found.append(self._tagged(autocomplete_keys))
        rows = known.news(chain.from_iterable(found))
        fields = [list(field) for field in zip(*rows, strict=True)] or [[], [], [], [], []]
        tenant, what, service, value = (pa.array(field, pa.string()) for field in fields[:4])
        part = pa.array(fields[4], pa.int32()).cast(pa.date32())
        return pa.table(
            {"tenant": tenant, "what": what, "service": service, "value": value, "part": part}
        )

    def _distinct(self, what: str, services: United | None, values: United) -> Iterator[Name]:
        """Rows of a kind of name: those of each service, or the services themselves."""
        owners = [] if services is None else [services.codes]
        places = first_of(self._tenants.codes, self._received_days, *owners, values.codes)
        days = self._received_days[places].tolist()
        owned = [""] * len(places) if services is None else services.at(places)
        named = zip(self._tenants.at(places), owned, values.at(places), days, strict=True)
        for tenant, service, value, day in named:
            if value and (service or services is None):
                yield tenant, what, service, value, day

    def _tagged(self, keys: frozenset[str]) -> Iterator[Name]:
        wanted = np.array([key in keys for key in self._tag_keys.texts], bool)
        tags = np.flatnonzero(wanted[self._tag_keys.codes])
        owner = np.repeat(np.arange(self._count), self._numbers.counts(TAGS))[tags]
        key_codes = self._tag_keys.codes[tags]
        texts_of_all = united_texts([columns.tag_values for columns in self._rows])
        values = texts_of_all.take(pa.array(tags)).dictionary_encode()
        codes, texts = values.indices.to_numpy(), values.dictionary.to_pylist()
        days = self._received_days[owner]
        for at in first_of(self._tenants.codes[owner], days, key_codes, codes).tolist():
            key = self._tag_keys.texts[key_codes[at]]
            (tenant,) = self._tenants.at(owner[at : at + 1])
            yield tenant, "tag", key, texts[codes[at]], int(days[at])


class _Tenants(United):
    """Whose each span is."""

    def __init__(self, rows: Sequence[PackedSpans], lengths: Sequence[int]) -> None:
        places: dict[str, int] = {}
        each = [places.setdefault(columns.tenant, len(places)) for columns in rows]
        self.codes = np.repeat(np.array(each, np.int32), lengths)
        self.texts = list(places)


def first_of(*columns: npt.NDArray[Any]) -> Ints:
    """Places of the first row of each distinct combination of the columns, in order."""
    packed, size = np.zeros(len(columns[0]), np.int64), 1
    for column in columns:
        low, high = (int(column.min()), int(column.max())) if len(column) else (0, 0)
        width = high - low + 1
        if size * width > _MOST_PLACES:  # renumbered, so that no product overflows
            distinct, packed = np.unique(packed, return_inverse=True)
            size = len(distinct)
        packed = packed * width + (column.astype(np.int64) - low)
        size *= width
    if size > _MOST_PLACES:
        return np.sort(np.unique(packed, return_index=True)[1])
    first = np.full(size, -1, np.int64)
    first[packed[::-1]] = np.arange(len(packed) - 1, -1, -1)  # the last write is the first row
    return np.sort(first[first >= 0])


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


def _many_values(keys: Codes, tokens: Codes, distinct_tokens: int) -> Bools:
    """For each tag whether its key has many values in this batch; ``tokens`` are codes of it."""
    key_of_token = np.zeros(distinct_tokens, np.int64)
    key_of_token[tokens] = keys
    distinct = np.bincount(key_of_token, minlength=int(keys.max(initial=-1)) + 1)
    total = np.bincount(keys, minlength=len(distinct))
    many: Bools = (distinct > _MANY_VALUES) & (distinct * _REPEATS > total)
    return many[keys] if len(keys) else np.zeros(0, bool)


def _compact(codes: Codes, texts: pa.Array) -> tuple[pa.Array, pa.Array]:
    """Codes and texts without those texts that have no code."""
    used = np.flatnonzero(np.bincount(codes, minlength=1)) if len(codes) else codes
    places = np.zeros(len(texts), np.int32)
    places[used] = np.arange(len(used), dtype=np.int32)
    return pa.array(places[codes]), texts.take(pa.array(used))


def _lists(counts: npt.NDArray[np.integer], values: pa.Array) -> pa.Array:
    offsets = np.zeros(len(counts) + 1, np.int32)
    np.cumsum(counts, out=offsets[1:])
    return pa.ListArray.from_arrays(pa.array(offsets), values)
