"""Where the engine gets its samples: the one port between PromQL and a store.

One selector of a query is one :meth:`SeriesSource.select`. The answer is columnar: all samples of
all series in flat arrays, cut into series by ``offsets``. Kernels work on the flat arrays.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from .matchers import Matcher

#: Label names and values in order of the names, no empty value: hashable, shareable, comparable.
Labels: TypeAlias = tuple[tuple[str, str], ...]
Int64Array: TypeAlias = npt.NDArray[np.int64]
Float64Array: TypeAlias = npt.NDArray[np.float64]
ObjectArray: TypeAlias = npt.NDArray[np.object_]
BoolArray: TypeAlias = npt.NDArray[np.bool_]

METRIC_NAME = "__name__"
#: The NaN that ends a series (Prometheus' ``value.StaleNaN``); any other NaN is a value.
STALE_BITS = 0x7FF0000000000002
STALE: float = struct.unpack("<d", struct.pack("<Q", STALE_BITS))[0]


def labels_of(mapping: Mapping[str, str]) -> Labels:
    """``mapping`` as :data:`Labels`; empty values mean "no such label" and are left out."""
    return tuple(sorted((name, value) for name, value in mapping.items() if value))


def is_stale(values: Float64Array) -> BoolArray:
    """Which of ``values`` are staleness markers, told from other NaNs by their bits."""
    return np.equal(values.view(np.uint64), STALE_BITS)


@dataclass(frozen=True, slots=True)
class SelectHints:
    """What the engine will do with the samples. A source may use it, and may ignore all of it."""

    step_ms: int = 0  # of the query or the innermost subquery; 0 for an instant query
    range_ms: int = 0  # of the range selector; 0 for an instant selector
    function: str = ""  # innermost function or aggregation around the selector
    grouping: tuple[str, ...] = ()
    by: bool = False  # ``grouping`` is of ``by`` (else of ``without``)
    #: More samples than this fail the query: a source may stop early by raising TooManySamples.
    max_samples: int = 50_000_000
    #: How many samples the engine would like to see at once.
    part_samples: int = 3_000_000
    #: Seconds left of the query's timeout.
    timeout_s: float = 120.0
    #: Native histograms' buckets will not be looked at (``histogram_count`` and the like).
    skip_buckets: bool = False
    #: Of each window of ``step_ms`` that ends at the end asked for, or a whole number of steps
    #: before it, only the newest sample will be looked at (``step_ms`` 0: one window).
    newest_per_step: bool = False


@dataclass(frozen=True, slots=True)
class SeriesBlock:
    """Samples of some series. Sample ``j`` of series ``i`` stands at ``offsets[i] + j``.

    Within a series timestamps strictly increase. Series have distinct labels, in any order.
    Arrays are not written to by anybody after construction.
    """

    labels: Sequence[Labels]
    offsets: Int64Array  # len(labels) + 1, from 0 to the number of samples
    timestamps: Int64Array  # Unix epoch, milliseconds
    #: Staleness markers keep their bits. Where ``histograms`` has an entry, the value is unused;
    #: a stale marker of a histogram series is an ordinary stale float.
    values: Float64Array
    #: ``histogram.Histogram`` or None per sample; None altogether where no series has any.
    histograms: ObjectArray | None = None
    #: Start (created) timestamps in ms, 0 where unknown; None altogether where none is known.
    start_timestamps: Int64Array | None = None
    #: Problems worth telling that did not stop the answer (shown as API warnings).
    warnings: Sequence[str] = field(default=())

    def __len__(self) -> int:
        return len(self.labels)

    def rows(self, start: int, stop: int) -> SeriesBlock:
        """Some neighbouring series, as views."""
        low, high = int(self.offsets[start]), int(self.offsets[stop])
        cut = slice(low, high)
        return SeriesBlock(
            self.labels[start:stop],
            self.offsets[start : stop + 1] - low,
            self.timestamps[cut],
            self.values[cut],
            None if self.histograms is None else self.histograms[cut],
            None if self.start_timestamps is None else self.start_timestamps[cut],
        )


class SeriesSource(Protocol):
    """A store of series, already bound to one tenant. Called from the query's worker thread."""

    def select(
        self,
        matchers: Sequence[Matcher],
        start_ms: int,
        end_ms: int,
        hints: SelectHints,
    ) -> SeriesBlock:
        """Series that satisfy all ``matchers``, with their samples in [start_ms, end_ms].

        Both ends belong to the range. Series without a sample in it may be left out.
        Raises ``errors.TooManySamples``, ``errors.QueryTimeout`` or ``errors.StorageError``.
        """


@runtime_checkable
class PartedSource(SeriesSource, Protocol):
    """A source that can answer in parts, so that no query need hold all its samples at once."""

    def select_parts(
        self,
        matchers: Sequence[Matcher],
        start_ms: int,
        end_ms: int,
        hints: SelectHints,
    ) -> Iterator[SeriesBlock]:
        """What :meth:`SeriesSource.select` answers, some series at a time.

        Every series is in one part, with all its samples; a part holds about
        ``hints.part_samples`` of them. The next part is read when it is asked for.
        """


@dataclass(slots=True)
class MemorySeries:
    """One series of a :class:`MemorySource`, in columns."""

    labels: Labels
    timestamps: Int64Array
    values: Float64Array
    histograms: ObjectArray | None = None
    start_timestamps: Int64Array | None = None


class MemorySource:
    """Series held in memory: for tests, benchmarks and tails not yet written."""

    def __init__(self, series: Iterable[MemorySeries] = ()) -> None:
        self._series = list(series)

    def add(
        self,
        labels: Mapping[str, str],
        timestamps: Sequence[int],
        samples: Sequence[Any],
        start_timestamps: Sequence[int] | None = None,
    ) -> None:
        """One more series; a sample is a number or a native histogram. Sorted by time here."""
        order = np.argsort(np.asarray(timestamps, dtype=np.int64), kind="stable")
        items = [samples[i] for i in order]
        floats = [s if isinstance(s, (int, float)) else 0.0 for s in items]
        complex_ = [None if isinstance(s, (int, float)) else s for s in items]
        self._series.append(
            MemorySeries(
                labels_of(labels),
                np.asarray(timestamps, dtype=np.int64)[order],
                np.array(floats, dtype=np.float64),
                _objects(complex_) if any(h is not None for h in complex_) else None,
                None
                if start_timestamps is None
                else np.asarray(start_timestamps, dtype=np.int64)[order],
            )
        )

    def select(
        self,
        matchers: Sequence[Matcher],
        start_ms: int,
        end_ms: int,
        hints: SelectHints,
    ) -> SeriesBlock:
        """See :meth:`SeriesSource.select`."""
        return block_of(self._found(matchers, start_ms, end_ms))

    def select_parts(
        self,
        matchers: Sequence[Matcher],
        start_ms: int,
        end_ms: int,
        hints: SelectHints,
    ) -> Iterator[SeriesBlock]:
        """See :meth:`PartedSource.select_parts`."""
        part: list[MemorySeries] = []
        samples = 0
        for series in self._found(matchers, start_ms, end_ms):
            part.append(series)
            samples += len(series.timestamps)
            if samples >= hints.part_samples:
                yield block_of(part)
                part, samples = [], 0
        if part:
            yield block_of(part)

    def _found(self, matchers: Sequence[Matcher], start_ms: int, end_ms: int) -> list[MemorySeries]:
        found = (s for s in self._series if _matches(matchers, dict(s.labels)))
        return [_cut(series, start_ms, end_ms) for series in found]


def block_of(series: Sequence[MemorySeries]) -> SeriesBlock:
    """The columns of ``series`` behind each other; series without samples are left out."""
    series = [s for s in series if len(s.timestamps)]
    lengths = np.array([len(s.timestamps) for s in series], dtype=np.int64)
    offsets = np.zeros(len(series) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    empty = np.zeros(0, dtype=np.int64)
    return SeriesBlock(
        labels=[s.labels for s in series],
        offsets=offsets,
        timestamps=np.concatenate([empty, *(s.timestamps for s in series)]),
        values=np.concatenate([empty.astype(np.float64), *(s.values for s in series)]),
        histograms=_joined_histograms(series),
        start_timestamps=_joined_starts(series),
    )


def _joined_histograms(series: Sequence[MemorySeries]) -> ObjectArray | None:
    if all(s.histograms is None for s in series):
        return None
    return np.concatenate(
        [
            np.full(len(s.timestamps), None, dtype=object) if s.histograms is None else s.histograms
            for s in series
        ]
    )


def _joined_starts(series: Sequence[MemorySeries]) -> Int64Array | None:
    if all(s.start_timestamps is None for s in series):
        return None
    return np.concatenate(
        [
            np.zeros(len(s.timestamps), dtype=np.int64)
            if s.start_timestamps is None
            else s.start_timestamps
            for s in series
        ]
    )


def _cut(series: MemorySeries, start_ms: int, end_ms: int) -> MemorySeries:
    low = int(np.searchsorted(series.timestamps, start_ms, side="left"))
    high = int(np.searchsorted(series.timestamps, end_ms, side="right"))
    part = slice(low, max(low, high))
    return MemorySeries(
        series.labels,
        series.timestamps[part],
        series.values[part],
        None if series.histograms is None else series.histograms[part],
        None if series.start_timestamps is None else series.start_timestamps[part],
    )


def _matches(matchers: Sequence[Matcher], labels: Mapping[str, str]) -> bool:
    return all(m.matches(labels.get(m.name, "")) for m in matchers)


def _objects(items: Sequence[Any]) -> ObjectArray:
    array = np.empty(len(items), dtype=object)
    array[:] = items
    return array
