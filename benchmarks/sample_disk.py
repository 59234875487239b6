"""Bytes on disk a sample: counters, and a mix of the kinds of series that exporters have.

usage: scripts/bench sample_disk [--series 1000] [--scrapes 2000] [--codec 'Delta(8), ZSTD(3)']

Every series is scraped every 15 s, and samples come to the store in batches of 50,000 as they do
from a scraper: all series of one time, then those of the next. Counted are all columns, indexes and
the rows that name the series, as inserted and when everything is merged. ``--codec`` gives the
values another codec than the schema's.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lookout_server.metrics import tables
from lookout_server.metrics.known import KnownSeries
from lookout_server.metrics.rows import MetricRows
from lookout_server.metrics.series import Series, series_of
from lookout_server.metrics.series_table import SeriesColumn
from lookout_server.store.embedded import EmbeddedStore
from lookout_server.store.migrations import migrate
from lookout_server.store.template import Dialect, Keep

STEP_MS = 15_000
BATCH = 50_000
Values = npt.NDArray[np.float64]
Kind = Callable[[np.random.Generator, int, int], Values]


def requests(rng: np.random.Generator, series: int, scrapes: int) -> Values:
    """Counters of whole numbers: a rate of each series' own, from none to hundreds a scrape."""
    rates = rng.lognormal(2, 2, (series, 1))
    return rng.poisson(np.minimum(rates, 1e6), (series, scrapes)).cumsum(axis=1).astype(float)


def seconds(rng: np.random.Generator, series: int, scrapes: int) -> Values:
    """Counters of CPU seconds: sums of floats, whose last digits nothing foretells."""
    return rng.exponential(0.5, (series, scrapes)).cumsum(axis=1)


def memory(rng: np.random.Generator, series: int, scrapes: int) -> Values:
    """Bytes in use: whole pages that come and go, and often stay."""
    pages = rng.integers(-64, 65, (series, scrapes)) * (rng.random((series, scrapes)) < 0.3)
    return (20_000 + pages.cumsum(axis=1)) * 4096.0


def gauge(rng: np.random.Generator, series: int, scrapes: int) -> Values:
    """Temperatures and shares: two digits behind the point, wandering."""
    steps = rng.normal(0, 0.3, (series, scrapes)).cumsum(axis=1)
    return np.round(50 + steps, 2)


def constant(rng: np.random.Generator, series: int, scrapes: int) -> Values:
    """Limits, versions, ``up``: always the same."""
    return np.repeat(rng.integers(0, 5, (series, 1)).astype(float), scrapes, axis=1)


MIXES: Mapping[str, Sequence[Kind]] = {
    "counters": (requests,),
    "mixed": (requests, seconds, memory, gauge, constant),
    "counters of seconds alone": (seconds,),
    "memory alone": (memory,),
    "gauges alone": (gauge,),
}


def labels(kind: str, number: int) -> Series:
    """A series with six labels, ten metrics a kind."""
    return series_of(
        [
            ("__name__", f"shop_{kind}_{number % 10}_total"),
            ("code", str(200 + number % 5)),
            ("instance", f"10.0.0.{number % 250}:9090"),
            ("job", "shop"),
            ("method", "GET"),
            ("pod", f"shop-{number:06d}"),
        ]
    )


class Disk:
    """A store in a directory, its rows and their size."""

    def __init__(self, directory: str, codec: str | None) -> None:
        self.store = EmbeddedStore(Path(directory))
        migrate(self.store, Dialect(keep={"metrics": Keep(30 * 86_400), "spans": Keep(86_400)}))
        if codec:
            self.store.execute(f"ALTER TABLE samples MODIFY COLUMN v CODEC({codec})")
        self._known = KnownSeries()
        self._batches = 0

    def insert(self, rows: MetricRows) -> None:
        self._batches += 1
        for table, columns in tables.tables([rows], self._known).items():
            self.store.insert(table, columns, f"{self._batches}-{table}")

    def a_sample(self) -> float:
        """Bytes in active parts for each sample."""
        found = self.store.fetch(
            "SELECT sum(bytes_on_disk) / sumIf(rows, table = 'samples') AS size FROM system.parts "
            "WHERE active AND table IN ('samples', 'series')"
        )
        return float(found.column("size")[0].as_py())

    def columns(self) -> str:
        """Bytes a sample of each column."""
        found = self.store.fetch(
            "SELECT column, sum(column_data_compressed_bytes) / sum(rows) AS size "
            "FROM system.parts_columns WHERE active AND table = 'samples' "
            "GROUP BY column ORDER BY size DESC"
        ).to_pylist()
        return ", ".join(f"{row['column']} {row['size']:.3f}" for row in found)


class Scraped:
    """The samples of one mix, as they come."""

    def __init__(self, kinds: Sequence[Kind], series: int, scrapes: int) -> None:
        rng = np.random.default_rng(7)
        each = series // len(kinds)
        self._values = np.concatenate([kind(rng, each, scrapes) for kind in kinds])
        named = [labels(kind.__name__, n) for kind in kinds for n in range(each)]
        self._series = SeriesColumn.of(named)
        self._begin = int(time.time() // 86_400 * 86_400_000) - scrapes * STEP_MS
        # Ten series are of one target, and targets have moments of their own.
        self._offsets = np.repeat(rng.integers(0, STEP_MS, len(self._values) // 10 + 1), 10)

    def batches(self) -> Iterator[MetricRows]:
        count, scrapes = self._values.shape
        a_batch = max(1, BATCH // count)
        for first in range(0, scrapes, a_batch):
            steps = np.arange(first, min(first + a_batch, scrapes))
            rows = MetricRows("default", self._begin, series=self._series)
            rows.sample_series = np.tile(np.arange(count, dtype=np.int32), len(steps))
            times = self._begin + steps[:, None] * STEP_MS + self._offsets[:count]
            rows.timestamps, rows.values = times.ravel(), self._values[:, steps].T.ravel()
            yield rows


def measure(kinds: Sequence[Kind], series: int, scrapes: int, codec: str | None) -> str:
    """Sizes of one mix."""
    with tempfile.TemporaryDirectory() as directory:
        disk = Disk(directory, codec)
        for rows in Scraped(kinds, series, scrapes).batches():
            disk.insert(rows)
        inserted = disk.a_sample()
        disk.store.execute("OPTIMIZE TABLE samples FINAL")
        merged, columns = disk.a_sample(), disk.columns()
        disk.store.close()
    return f"{inserted:.2f} B as inserted, {merged:.2f} B merged ({columns})"


def main() -> None:
    """Print a line a mix."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--series", type=int, default=1000)
    parser.add_argument("--scrapes", type=int, default=2000)
    parser.add_argument("--codec")
    options = parser.parse_args()
    for name, kinds in MIXES.items():
        found = measure(kinds, options.series, options.scrapes, options.codec)
        print(f"{name:26s} {found}", flush=True)


if __name__ == "__main__":
    main()
