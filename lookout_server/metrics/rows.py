"""Decoded metrics of one body, in columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from ..query.prometheus.histogram import Histogram
from .series import InvalidLabels, LabelLimits, Labels, Series, series_of
from .series_table import Int64Array, SeriesColumn

Int32Array: TypeAlias = npt.NDArray[np.int32]
Float64Array: TypeAlias = npt.NDArray[np.float64]

#: Samples further ahead than this are refused, as Prometheus does.
MAX_AHEAD_MS = 10 * 60 * 1000


@dataclass(frozen=True, slots=True)
class HistogramSample:
    """A native histogram at a time, of the series at an index of the rows' list."""

    series: int
    timestamp: int  # Unix epoch, milliseconds
    histogram: Histogram
    start: int = 0  # start timestamp, milliseconds; 0 where unknown


@dataclass(frozen=True, slots=True)
class ExemplarSample:
    """An exemplar of the series at an index of the rows' list."""

    series: int
    timestamp: int
    value: float
    labels: Labels


@dataclass(frozen=True, slots=True)
class Metadata:
    """Type (``counter`` ...), help and unit of a metric family."""

    metric: str
    type: str
    help: str
    unit: str


@dataclass(frozen=True, slots=True)
class Problem:
    """Samples of an otherwise good body that were not taken, and why."""

    reason: str  # invalid_labels, out_of_bounds, invalid_histogram, series_limit ...
    samples: int
    text: str  # of the first of them


def _no_ints() -> Int64Array:
    return np.zeros(0, dtype=np.int64)


@dataclass(slots=True)
class MetricRows:
    """Columns of one body. ``sample_series`` gives each sample's index in ``series``."""

    tenant: str
    received_ms: int
    series: SeriesColumn = field(default_factory=lambda: SeriesColumn.of(()))
    sample_series: Int32Array = field(default_factory=lambda: np.zeros(0, dtype=np.int32))
    timestamps: Int64Array = field(default_factory=_no_ints)
    values: Float64Array = field(default_factory=lambda: np.zeros(0))
    starts: Int64Array | None = None
    #: (index of the series, ms) where it began to count from 0.
    created: list[tuple[int, int]] = field(default_factory=list)
    histograms: list[HistogramSample] = field(default_factory=list)
    exemplars: list[ExemplarSample] = field(default_factory=list)
    metadata: list[Metadata] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def __len__(self) -> int:
        """Samples, histograms included; a body of metadata alone still counts as one."""
        samples = len(self.timestamps) + len(self.histograms)
        return samples or int(bool(self.metadata or self.exemplars))

    @property
    def samples(self) -> int:
        """Float samples taken."""
        return len(self.timestamps)

    def note(self, reason: str, samples: int, text: str) -> None:
        """Add what was not taken."""
        self.problems.append(Problem(reason, samples, text))

    def samples_by_series(self) -> dict[int, int]:
        """How many samples, histograms included, each index of ``series`` has."""
        counts = np.bincount(self.sample_series, minlength=len(self.series))
        for sample in self.histograms:
            counts[sample.series] += 1
        return dict(enumerate(counts.tolist()))

    def drop_series(self, indexes: set[int]) -> None:
        """Leave out all samples of the series at these indexes (the list keeps its places)."""
        keep = ~np.isin(self.sample_series, np.array(sorted(indexes), dtype=np.int32))
        self.sample_series, self.timestamps = self.sample_series[keep], self.timestamps[keep]
        self.values = self.values[keep]
        self.starts = None if self.starts is None else self.starts[keep]
        self.created = [item for item in self.created if item[0] not in indexes]
        self.histograms = [h for h in self.histograms if h.series not in indexes]
        self.exemplars = [e for e in self.exemplars if e.series not in indexes]


class ProblemLog:
    """Problems by reason: how many samples, and the text of the first."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[int, str]] = {}

    def add(self, reason: str, samples: int, text: str) -> None:
        """Count ``samples`` more that were not taken for this reason."""
        count, first = self._found.get(reason, (0, text))
        self._found[reason] = (count + samples, first)

    def list(self) -> list[Problem]:
        """What was found, in order of first appearance."""
        return [Problem(reason, count, text) for reason, (count, text) in self._found.items()]


class RowsBuilder:
    """Builds rows sample by sample, for protocols without a decoder of their own columns.

    Invalid label sets, times out of bounds and invalid histograms are noted as problems and left
    out; everything else of the body is kept.
    """

    def __init__(self, tenant: str, received_ms: int, limits: LabelLimits | None = None) -> None:
        self._rows = MetricRows(tenant, received_ms)
        self._limits = limits
        self._problems = ProblemLog()
        self._index: dict[tuple[tuple[str, str], ...], int | None] = {}
        self._series: list[Series] = []
        self._sample_series: list[int] = []
        self._timestamps: list[int] = []
        self._values: list[float] = []
        self._starts: list[int] = []

    def series(self, labels: Mapping[str, str] | Iterable[tuple[str, str]]) -> int | None:
        """Index for these labels, or None where they are invalid (noted)."""
        pairs = tuple(labels.items() if isinstance(labels, Mapping) else labels)
        if pairs in self._index:
            return self._index[pairs]
        index: int | None = None
        try:
            found = series_of(pairs, self._limits)
        except InvalidLabels as error:
            self._problems.add("invalid_labels", 0, str(error))
        else:
            index = len(self._series)
            self._series.append(found)
        self._index[pairs] = index
        return index

    def sample(self, series: int | None, timestamp: int, value: float, start: int = 0) -> bool:
        """Add one float sample at ``timestamp`` (ms); False where it was not taken."""
        if not self._acceptable(series, timestamp):
            return False
        assert series is not None
        self._sample_series.append(series)
        self._timestamps.append(timestamp)
        self._values.append(value)
        self._starts.append(start)
        return True

    def created(self, series: int | None, start: int) -> None:
        """Say that the series counts from 0 since ``start`` (ms)."""
        if series is not None and start > 0:
            self._rows.created.append((series, start))

    def histogram(
        self, series: int | None, timestamp: int, histogram: Histogram, start: int = 0
    ) -> bool:
        """Add one native histogram; False where it was not taken."""
        if not self._acceptable(series, timestamp):
            return False
        assert series is not None
        self._rows.histograms.append(HistogramSample(series, timestamp, histogram, start))
        return True

    def exemplar(self, series: int | None, timestamp: int, value: float, labels: Labels) -> None:
        """Add one exemplar."""
        if series is not None and in_bounds(timestamp, self._rows.received_ms):
            self._rows.exemplars.append(ExemplarSample(series, timestamp, value, labels))

    def metadata(self, metric: str, mtype: str, help_: str = "", unit: str = "") -> None:
        """Say what a metric family is."""
        if metric:
            self._rows.metadata.append(Metadata(metric, mtype, help_, unit))

    def problem(self, reason: str, samples: int, text: str) -> None:
        """Note samples that were not taken."""
        self._problems.add(reason, samples, text)

    def build(self) -> MetricRows:
        """The rows; the builder is used up."""
        rows = self._rows
        rows.series = SeriesColumn.of(self._series)
        rows.sample_series = np.array(self._sample_series, dtype=np.int32)
        rows.timestamps = np.array(self._timestamps, dtype=np.int64)
        rows.values = np.array(self._values, dtype=np.float64)
        if any(self._starts):
            rows.starts = np.array(self._starts, dtype=np.int64)
        rows.metadata = list(dict.fromkeys(rows.metadata))
        rows.problems = self._problems.list()
        return rows

    def _acceptable(self, series: int | None, timestamp: int) -> bool:
        if series is None:
            self._problems.add("invalid_labels", 1, "")
            return False
        if not in_bounds(timestamp, self._rows.received_ms):
            self.problem("out_of_bounds", 1, out_of_bounds_text(timestamp))
            return False
        return True


def in_bounds(timestamp: int, received_ms: int) -> bool:
    """Whether a sample of this time is taken: since 1970 and at most ten minutes ahead."""
    return 0 <= timestamp <= received_ms + MAX_AHEAD_MS


def out_of_bounds_text(timestamp: int) -> str:
    """The message for a sample outside of what is taken."""
    return f"out of bounds: timestamp {timestamp} ms is before 1970 or more than 10 minutes ahead"
