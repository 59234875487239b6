"""Where a counter's series begins: with 0, at the time its sender says it began to count.

Without that sample the first value a series ever had is invisible to ``increase`` and ``rate``:
a counter that appears with 7 would seem never to have been increased. Prometheus writes the same
sample (its feature "created timestamp zero ingestion").
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np

from .rows import MetricRows
from .series_table import SeriesColumn

#: How many series are remembered. One that is forgotten is written its 0 again, at the same
#: time, where the store keeps one.
_MAX_SERIES = 200_000


class Beginnings:
    """Remembers which beginnings were written. For one thread at a time."""

    def __init__(self, max_series: int = _MAX_SERIES) -> None:
        self._max = max_series
        self._known: OrderedDict[tuple[str, int], int] = OrderedDict()

    def zeros(self, batch: Sequence[MetricRows]) -> list[MetricRows]:
        """Rows of a 0 for each series of ``batch`` that began since it was last heard of."""
        return [zeros for rows in batch if rows.created and (zeros := self._of(rows)) is not None]

    def forget(self) -> None:
        """What was handed out has not been stored."""
        self._known.clear()

    def _of(self, rows: MetricRows) -> MetricRows | None:
        news = [
            (rows.series[at], start) for at, start in rows.created if self._is_new(rows, at, start)
        ]
        if not news:
            return None
        return MetricRows(
            rows.tenant,
            rows.received_ms,
            series=SeriesColumn.of(series for series, _ in news),
            sample_series=np.arange(len(news), dtype=np.int32),
            timestamps=np.array([start for _, start in news], dtype=np.int64),
            values=np.zeros(len(news)),
        )

    def _is_new(self, rows: MetricRows, at: int, start: int) -> bool:
        key = (rows.tenant, int(rows.series.ids[at]))
        if self._known.get(key) == start:
            return False
        self._known[key] = start
        self._known.move_to_end(key)
        if len(self._known) > self._max:
            self._known.popitem(last=False)
        return True
