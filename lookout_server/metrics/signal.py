"""The signal "metrics": which decoder reads which format, and the way to tables."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence

import pyarrow as pa

from ..config import ServerConfig
from ..signal import Receipt
from . import tables
from .beginnings import Beginnings
from .freshness import Freshness
from .known import ActiveSeries, KnownSeries, SeriesLimits
from .reading import MetricReader
from .rows import MetricRows
from .series import LabelLimits
from .series_table import SeriesColumn


class MetricSignal:
    """See :class:`lookout_server.signal.Signal`."""

    name = "metrics"

    def __init__(self, config: ServerConfig) -> None:
        limits = LabelLimits(
            config.label_names_max, config.label_name_bytes_max, config.label_value_bytes_max
        )
        #: Around what is remembered: the writer hands over, readers who delete have it forgotten.
        self._lock = threading.Lock()
        self._known = KnownSeries()
        self._beginnings = Beginnings()
        #: When series rows last became readable (monotonic seconds).
        self.series_stored = 0.0
        self._series_underway = False
        #: Since when samples may differ from what was read of them before.
        self.freshness = Freshness()
        self.active = ActiveSeries(
            SeriesLimits(config.series_per_tenant_max, config.series_per_metric_max)
        )
        self._reader = MetricReader(limits)

    def decode(self, fmt: str, body: bytes, receipt: Receipt) -> MetricRows:
        """Rows of one body. Raises Malformed."""
        return self.pack(self.read(fmt, body, receipt))

    def read(self, fmt: str, body: bytes, receipt: Receipt) -> MetricRows:
        """The same, as stages see it."""
        rows = self._reader.read(fmt, body, receipt)
        self.active.admit(rows)
        return rows

    def pack(self, rows: MetricRows) -> MetricRows:
        """The rows themselves: they are columns already, unless a stage made a list of series."""
        series: object = rows.series
        if isinstance(series, Sequence):
            rows.series = SeriesColumn.of(series)
        return rows

    def tables(self, rows: Sequence[MetricRows]) -> Mapping[str, pa.Table]:
        """All rows of one batch as Arrow tables. To be called once a batch in one process:
        a series whose row is in one batch's tables is left out of the next ones'.
        """
        with self._lock:
            every = [*rows, *self._beginnings.zeros(rows)]
            self.freshness.begin(every)
            made = tables.tables(every, self._known)
        self._series_underway |= "series" in made
        return made

    def stored(self) -> None:
        """The tables made last are in the store."""
        self.freshness.end()
        if self._series_underway:
            self._series_underway = False
            self.series_stored = time.monotonic()

    def forget(self) -> None:
        """Tables that were made are not in the store: leave no series out any more. Thread-safe."""
        with self._lock:
            self._known.forget()
            self._beginnings.forget()
