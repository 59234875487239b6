"""The engine's source of series over ClickHouse: one selector, one query.

Which series match is known in memory (:mod:`lookout_server.metrics.catalog`), so that ClickHouse is
asked for samples only, by its primary key.
"""

from __future__ import annotations

import contextvars
import itertools
import math
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from ...metrics.catalog import Catalog
from ...metrics.index import Found, UInt64Array
from ...store.port import Limits, Store, StoreError, StoreLimit
from .asking import stage
from .errors import QueryError, QueryTimeout, StorageError, TooManySamples
from .held import HeldSamples
from .matchers import Matcher
from .sample_columns import RawSamples, SampleColumns, SeriesPlaces
from .source import SelectHints, SeriesBlock
from .stored_histograms import FIELDS, histogram_columns

#: Times ClickHouse's DateTime64(3) holds and Lookout takes.
MIN_MS, MAX_MS = 0, 4_102_444_800_000
#: Up to so many ids are named in a query; beyond it, those that do not match are left out here.
_IDS_IN_QUERY = 20_000
TIMEOUT_EXCEEDED = 159
#: What is taken for the time between two samples when series are read in parts, and how many
#: times the samples so expected a part may hold before it is read in smaller ones.
_USUAL_INTERVAL_MS, _PART_EXCESS = 15_000, 4
#: Usual samples of one statement: 30 MB, which are in memory as they came until they are thinned.
_SLICE_SAMPLES = 1_500_000
_SMALL_SAMPLES = 200_000
#: Rows of a metric in a part of the table (a day at most) next to which those of other metrics in
#: the blocks of the index at both its ends, some 8,000, are few.
_DENSE_ROWS = 50_000
_MINUTE_MS, _HOUR_MS, _DAY_MS = 60_000, 3_600_000, 86_400_000

#: ClickHouse finds the hours of its key by the times; telling it them, too, costs a millisecond.
_WHERE = """
WHERE tenant = {tenant:String} AND {metrics} {ids}
  AND ts >= fromUnixTimestamp64Milli({start:Int64}, 'UTC')
  AND ts <= fromUnixTimestamp64Milli({end:Int64}, 'UTC')
"""


@dataclass(frozen=True, slots=True)
class Window:
    """What of a table is read: series of a tenant between two times, both included."""

    tenant: str
    found: Sequence[Found]
    start_ms: int
    end_ms: int

    @property
    def series(self) -> int:
        """How many series there are."""
        return sum(len(one.places) for one in self.found)

    @property
    def usual_samples(self) -> int:
        """How many samples a series is taken to have."""
        return (self.end_ms - self.start_ms) // _USUAL_INTERVAL_MS + 1

    @property
    def ids(self) -> UInt64Array:
        """Of all series, metric by metric."""
        return np.concatenate([one.ids for one in self.found])

    def parts(self, series: int) -> list[Window]:
        """Windows of at most so many series each, neighbours by id together."""
        if self.series <= series:
            return [self]
        pieces: list[list[Found]] = [[]]
        room = series
        for one in self.found:
            places = one.places[np.argsort(one.ids)]
            while len(places):
                if not room:
                    pieces.append([])
                    room = series
                pieces[-1].append(Found(one.metric, places[:room]))
                room, places = room - min(room, len(places)), places[room:]
        return [replace(self, found=piece) for piece in pieces]

    @property
    def is_small(self) -> bool:
        """Whether planning a statement takes about as long as reading the samples does."""
        return self.series * self.usual_samples <= _SMALL_SAMPLES

    def slices(self) -> list[Window]:
        """The same series, one stretch of time after the other, none with too many samples.

        They are cut between hours, which the table's key is in the order of: no row is read twice.
        """
        hours = range(self.start_ms // _HOUR_MS + 1, self.end_ms // _HOUR_MS + 1)
        wanted = -(-self.series * self.usual_samples // _SLICE_SAMPLES)
        each = max(1, -(-(len(hours) + 1) // wanted))
        cuts = [hour * _HOUR_MS for hour in hours[each - 1 :: each]]
        edges = [self.start_ms, *(cut for cut in cuts if cut > self.start_ms), self.end_ms + 1]
        return [
            replace(self, start_ms=first, end_ms=end - 1)
            for first, end in itertools.pairwise(edges)
        ]

    @property
    def is_dense(self) -> bool:
        """Whether each metric has many rows, even at no more than a sample a minute."""
        minutes = min(self.end_ms - self.start_ms, _DAY_MS) // _MINUTE_MS
        return min(len(one.places) for one in self.found) * minutes >= _DENSE_ROWS

    @property
    def names_ids(self) -> bool:
        """Whether the clauses name each series."""
        if all(one.all for one in self.found):
            return False
        return self.series <= _IDS_IN_QUERY

    @property
    def clause(self) -> str:
        """WHERE, with the key's own expressions so that ClickHouse prunes by them."""
        return self._where("mid IN {mids:Array(UInt64)}")

    @property
    def wide_clause(self) -> str:
        """:attr:`clause` which also finds what shares a block of the index with these metrics.

        Leaving those rows out by id afterwards costs a quarter less than having them left out.
        """
        return self._where("indexHint(mid IN {mids:Array(UInt64)})")

    def _where(self, metrics: str) -> str:
        ids = "AND id IN {ids:Array(UInt64)}" if self.names_ids else ""
        return _WHERE.replace("{metrics}", metrics).replace("{ids}", ids)

    @property
    def parameters(self) -> Mapping[str, Any]:
        """Values of the names in the clauses."""
        parameters: dict[str, Any] = {
            "tenant": self.tenant,
            "mids": [one.metric.mid for one in self.found],
            "start": self.start_ms,
            "end": self.end_ms,
        }
        if self.names_ids:
            parameters["ids"] = self.ids.tolist()
        return parameters


def clipped(
    catalog: Catalog, tenant: str, matchers: Sequence[Matcher], start_ms: int, end_ms: int
) -> Window | None:
    """The series that match, between times that can be stored; None where there is nothing."""
    start_ms, end_ms = max(start_ms, MIN_MS), min(end_ms, MAX_MS)
    if end_ms < start_ms:
        return None
    with stage("series index") as told:
        found = catalog.select(tenant, matchers, start_ms, end_ms)
        told.rows = sum(len(one.places) for one in found)
    return Window(tenant, found, start_ms, end_ms) if found else None


class ClickHouseSource:
    """Implements :class:`.source.SeriesSource` for one tenant."""

    def __init__(
        self,
        store: Store,
        catalog: Catalog,
        tenant: str,
        *,
        starts: bool = False,
        memory_bytes: int = 500_000_000,
        threads: int = 2,
        held: HeldSamples | None = None,
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._tenant = tenant
        self._starts = starts
        self._memory_bytes, self._threads = memory_bytes, threads
        self._held = held

    def select(
        self,
        matchers: Sequence[Matcher],
        start_ms: int,
        end_ms: int,
        hints: SelectHints,
    ) -> SeriesBlock:
        """See :meth:`.source.SeriesSource.select`."""
        with _errors_of_queries():
            window = clipped(self._catalog, self._tenant, matchers, start_ms, end_ms)
            return _EMPTY if window is None else self._read(window, hints)

    def select_parts(
        self,
        matchers: Sequence[Matcher],
        start_ms: int,
        end_ms: int,
        hints: SelectHints,
    ) -> Iterator[SeriesBlock]:
        """See :meth:`.source.PartedSource.select_parts`.

        A part is as many series as would make it full at a sample every 15 s; one that turns out
        to hold many times that is read in smaller pieces.
        """
        with _errors_of_queries():
            window = clipped(self._catalog, self._tenant, matchers, start_ms, end_ms)
            if window is None:
                return
            waiting = window.parts(max(1, hints.part_samples // self._kept(window, hints)))
            parts = self._parts(waiting[::-1], hints)
            yield from ahead(parts) if len(waiting) > 1 else parts

    def _parts(self, waiting: list[Window], hints: SelectHints) -> Iterator[SeriesBlock]:
        """The windows read one by one, from the last."""
        limit = min(hints.max_samples, _PART_EXCESS * hints.part_samples)
        while waiting:
            part = waiting.pop()
            alone = part.series == 1
            try:
                allowed = hints.max_samples if alone else limit
                block = self._read(part, replace(hints, max_samples=allowed))
            except TooManySamples:
                if alone:
                    raise
                waiting += part.parts(-(-part.series // _PART_EXCESS))[::-1]
                continue
            yield block

    def _kept(self, window: Window, hints: SelectHints) -> int:
        """How many samples of a usual series are in memory after they were read."""
        samples = window.usual_samples
        if hints.newest_per_step and hints.step_ms and not self._holds(window):
            # One a step, and one more where a run ends.
            steps, hours = (
                (window.end_ms - window.start_ms) // width + 1
                for width in (hints.step_ms, _HOUR_MS)
            )
            samples = min(samples, steps + hours)
        return samples

    def _read(self, window: Window, hints: SelectHints) -> SeriesBlock:
        held = self._held
        if held is None or not self._holds(window):
            return self._read_all(window, hints)
        if not held.has_room(window.series * window.usual_samples):
            return self._read_all(window, hints)
        hints = replace(hints, newest_per_step=False)
        block = held.get(
            (window.tenant, window.ids.tobytes()),
            window.start_ms,
            window.end_ms,
            lambda start, end: self._read_all(replace(window, start_ms=start, end_ms=end), hints),
        )
        if len(block.timestamps) > hints.max_samples:
            raise TooManySamples
        return block

    def _holds(self, window: Window) -> bool:
        """Whether these samples may be held: bare numbers, and nobody else writes."""
        metrics = [one.metric for one in window.found]
        started = self._starts and any(one.has_starts for one in metrics)
        histograms = any(one.has_histograms for one in metrics)
        return self._held is not None and not started and not histograms

    def _read_all(self, window: Window, hints: SelectHints) -> SeriesBlock:
        places = SeriesPlaces(window.found)
        samples = self._floats(window, hints, places)
        if any(one.metric.has_histograms for one in window.found):
            # Histograms are few and their rows large: FINAL, which reads once, costs little.
            sql = f"SELECT id, ts, st, {', '.join(FIELDS)} FROM histograms FINAL {window.clause}"
            most = hints.max_samples - len(samples.timestamps)
            table = self._fetch(sql, window.parameters, most, hints.timeout_s)
            samples = samples.merged(histogram_columns(table, places))
        return samples.block(places, with_starts=self._starts)

    def _floats(self, window: Window, hints: SelectHints, places: SeriesPlaces) -> SampleColumns:
        if not any(one.metric.has_floats for one in window.found):
            return SampleColumns.of([], window.start_ms, places)
        samples = self._samples(window, hints, places, final=False)
        if samples.repeats():
            del samples  # not to have both in memory
            samples = self._samples(window, hints, places, final=True)
        return samples

    def _samples(
        self, window: Window, hints: SelectHints, places: SeriesPlaces, *, final: bool
    ) -> SampleColumns:
        slices, room = window.slices(), Room(hints.max_samples)
        at_once = min(self._threads, len(slices))
        last = window.end_ms - window.start_ms
        select = f"SELECT {self._columns(window)} FROM samples {'FINAL' if final else ''}"

        def read(part: Window) -> list[RawSamples]:
            most = hints.max_samples if hints.newest_per_step else room.left
            table = self._rows(select, part, window.start_ms, most, hints.timeout_s, at_once)
            samples = [RawSamples.of(batch) for batch in table.to_batches()]
            if hints.newest_per_step:
                samples = [one.newest_per_step(last, hints.step_ms) for one in samples]
            samples = [one.of_series(places) for one in samples]
            room.take(sum(len(one.ids) for one in samples))
            return samples

        return SampleColumns.of(_at_once(read, slices, at_once), window.start_ms, places)

    def _columns(self, window: Window) -> str:
        offset = "toUnixTimestamp64Milli(ts) - {origin:Int64}"
        if window.end_ms - window.start_ms < 2**32:
            offset = f"toUInt32({offset})"
        started = self._starts and any(one.metric.has_starts for one in window.found)
        return f"id, {offset} AS t, v" + (", st" if started else "")

    def _rows(
        self, select: str, part: Window, origin: int, most: int, timeout_s: float, at_once: int
    ) -> pa.Table:
        """Rows of the window's series, and perhaps some of others."""
        parameters = {**part.parameters, "origin": origin}
        if part.is_dense:
            sql = f"{select} {part.wide_clause}"
            try:
                return self._fetch(sql, parameters, most, timeout_s, at_once)
            except TooManySamples:
                if part.names_ids:
                    raise
        # Choosing what to filter by first takes longer than reading few rows as a whole.
        settings = ", optimize_move_to_prewhere = 0" if part.is_small else ""
        sql = f"{select} {part.clause}"
        return self._fetch(sql, parameters, most, timeout_s, at_once, settings)

    def _fetch(
        self,
        sql: str,
        parameters: Mapping[str, Any],
        most: int,
        timeout_s: float,
        at_once: int = 1,
        settings: str = "",
    ) -> pa.Table:
        # Compressing the answer on its way inside one process costs a third of reading it.
        sql = (
            f"{sql} LIMIT {most + 1} "
            f"SETTINGS output_format_arrow_compression_method = 'none'{settings}"
        )
        limits = Limits(
            _rounded(timeout_s), self._memory_bytes // at_once, max(1, self._threads // at_once)
        )
        table = self._store.fetch(sql, parameters, limits)
        if len(table) > most:
            raise TooManySamples
        return table


class Room:
    """For how many more samples of a selector there is room. Thread-safe."""

    def __init__(self, most: int) -> None:
        self.left = most
        self._lock = threading.Lock()

    def take(self, samples: int) -> None:
        """Raises TooManySamples where there is none for so many."""
        with self._lock:
            if samples > self.left:
                raise TooManySamples
            self.left -= samples


def _at_once(
    read: Callable[[Window], list[RawSamples]], windows: Sequence[Window], threads: int
) -> list[RawSamples]:
    """What is read of the windows, in any order, several of them at a time.

    None is read ahead: where reading one fails, the others are not begun.
    """
    waiting = deque(windows)

    def work() -> list[RawSamples]:
        found = []
        try:
            for window in _popped(waiting):
                found += read(window)
        except BaseException:
            waiting.clear()
            raise
        return found

    if threads == 1:
        return work()
    with ThreadPoolExecutor(threads, "lookout-promql-read") as workers:
        futures = [workers.submit(contextvars.copy_context().run, work) for _ in range(threads)]
        return [one for future in futures for one in future.result()]


def _popped(waiting: deque[Window]) -> Iterator[Window]:
    """One after the other, for whichever thread asks."""
    while True:
        try:
            window = waiting.popleft()
        except IndexError:
            return
        yield window


def ahead(parts: Iterator[SeriesBlock]) -> Iterator[SeriesBlock]:
    """The same parts; the next one is read in another thread while one is looked at."""
    context = contextvars.copy_context()

    def read() -> SeriesBlock | None:
        return context.run(lambda: next(parts, None))

    with ThreadPoolExecutor(1, "lookout-promql-ahead") as worker:
        coming = worker.submit(read)
        while (part := coming.result()) is not None:
            coming = worker.submit(read)
            yield part


def _rounded(seconds: float) -> float:
    """A time limit for ClickHouse, in whole seconds so that it is the same for most queries.

    Setting another is a round trip of its own, and the engine looks at the exact one.
    """
    return float(math.ceil(seconds)) if seconds > 1 else max(seconds, 0.001)


@contextmanager
def _errors_of_queries() -> Iterator[None]:
    """What goes wrong in the store, as what goes wrong with a query."""
    try:
        yield
    except StoreLimit as error:
        raise _limit_error(error) from error
    except StoreError as error:
        raise StorageError(str(error)) from error


def _limit_error(error: StoreLimit) -> QueryError:
    if error.code == TIMEOUT_EXCEEDED:
        return QueryTimeout()
    return StorageError(f"the database stopped the query at a limit: {error}")


_EMPTY = SeriesBlock(
    labels=(),
    offsets=np.zeros(1, dtype=np.int64),
    timestamps=np.zeros(0, dtype=np.int64),
    values=np.zeros(0, dtype=np.float64),
)
