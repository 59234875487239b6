"""The PromQL engine by itself, on series in memory: seconds per query, median of rounds.

The workloads are those of the speed table: counters scraped every 15 s, a day of them. The
columns are series, window, step, and the windows evaluated per second. Storage, HTTP and JSON are
not part of it, see ``benchmarks/prometheus.py`` for whole requests beside Prometheus.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence

import numpy as np

from lookout_server.query.prometheus.engine import Engine, EngineOptions
from lookout_server.query.prometheus.source import (
    MemorySeries,
    SelectHints,
    SeriesBlock,
    block_of,
    labels_of,
)

_SCRAPE_MS = 15_000
_DAY_MS = 86_400_000
_START_MS = 1_700_000_000_000 // _SCRAPE_MS * _SCRAPE_MS
_QUERIES = {
    "sum by (x)(rate)": "sum by (x) (rate(m_total[5m]))",
    "rate": "rate(m_total[5m])",
    "raw selector": "m_total",
    "sum_over_time": "sum by (x) (sum_over_time(m_total[5m]))",
    "max_over_time": "max by (x) (max_over_time(m_total[5m]))",
    "quantile_over_time": "sum by (x) (quantile_over_time(0.9, m_total[5m]))",
    "topk": "topk(5, m_total)",
    "histogram_quantile": "histogram_quantile(0.9, sum by (le) (rate(m_total[5m])))",
    "ratio": "sum by (x) (rate(m_total[5m])) / on (x) sum by (x) (m_total)",
}
_SPANS = ((3_600_000, 15_000), (3_600_000, 60_000), (_DAY_MS, 60_000), (_DAY_MS, 15_000))
_BOUNDS = ("0.005", "0.01", "0.05", "0.1", "0.5", "1", "5", "10", "60", "+Inf")


class _Block:
    """A source that always answers with the same series, cut to the range asked for."""

    def __init__(self, series: int, *, jitter: bool) -> None:
        random = np.random.default_rng(7)
        samples = _DAY_MS // _SCRAPE_MS + 40
        self._series = []
        for number in range(series):
            late = int(random.integers(0, _SCRAPE_MS)) if jitter else (number // 100) * 997
            times = _START_MS - 20 * _SCRAPE_MS + late + np.arange(samples) * _SCRAPE_MS
            values = np.cumsum(random.integers(0, 100, samples)).astype(np.float64)
            labels = {
                "__name__": "m_total",
                "x": str(number % 10),
                "le": _BOUNDS[number % 10],
                "i": str(number),
            }
            self._series.append(MemorySeries(labels_of(labels), times, values))
        self._cut: dict[tuple[int, int], SeriesBlock] = {}

    def select(
        self, matchers: Sequence[object], start_ms: int, end_ms: int, hints: SelectHints
    ) -> SeriesBlock:
        """The series within the range; made once, so that only the engine is timed."""
        key = (start_ms, end_ms)
        if key not in self._cut:
            self._cut[key] = block_of([self._part(each, *key) for each in self._series])
        return self._cut[key]

    @staticmethod
    def _part(series: MemorySeries, start_ms: int, end_ms: int) -> MemorySeries:
        low, high = np.searchsorted(series.timestamps, [start_ms, end_ms + 1])
        return MemorySeries(series.labels, series.timestamps[low:high], series.values[low:high])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="queries whose name contains this")
    parser.add_argument("--jitter", action="store_true", help="every series at times of its own")
    options = parser.parse_args(arguments)
    source = _Block(options.series, jitter=options.jitter)
    engine = Engine(EngineOptions())
    print(f"{'query':20} {'window/step':>12} {'seconds':>9} {'Mwindows/s':>11}")
    for name, query in _QUERIES.items():
        if options.only not in name:
            continue
        for span_ms, step_ms in _SPANS:
            seconds = _median(engine, source, query, span_ms, step_ms, options.rounds)
            windows = options.series * (span_ms // step_ms + 1)
            label = f"{span_ms // 3_600_000}h/{step_ms // 1000}s"
            print(f"{name:20} {label:>12} {seconds:9.4f} {windows / seconds / 1e6:11.2f}")


def _median(
    engine: Engine, source: _Block, query: str, span_ms: int, step_ms: int, rounds: int
) -> float:
    end_ms = _START_MS + _DAY_MS
    taken = []
    for _ in range(rounds + 1):
        begin = time.perf_counter()
        engine.range(query, end_ms - span_ms, end_ms, step_ms, source)
        taken.append(time.perf_counter() - begin)
    return statistics.median(taken[1:])


if __name__ == "__main__":
    main()
