"""What all parts of one running query share: its source, limits, notes and end."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from .annotations import Annotations
from .errors import QueryCanceled, QueryTimeout, TooManySamples
from .features import STABLE, Features
from .matchers import Matcher
from .source import Int64Array, PartedSource, SelectHints, SeriesBlock, SeriesSource

_CELL_BYTES = 9  # a value and whether it is there
#: What reading a sample takes at the most: as it comes, in order, and while it is put in order.
_READ_BYTES = 40


class CancelToken:
    """Lets another thread end a query: the engine looks at it between kernels."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def cancel(self) -> None:
        """Ask the query to stop; it raises QueryCanceled soon."""
        self._event.set()

    @property
    def canceled(self) -> bool:
        return self._event.is_set()


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """What an engine allows and how it reads queries."""

    lookback_ms: int = 300_000
    timeout_s: float = 120.0
    #: Samples a query may hold at one moment.
    max_samples: int = 50_000_000
    #: Samples a query asks its source for at once where it needs no more.
    part_samples: int = 3_000_000
    #: What a query may take, roughly; a single matrix may take half of it.
    memory_bytes: int = 500_000_000
    #: Step of a subquery that names none.
    subquery_step_ms: int = 60_000
    #: Drop metric names at the end of a query rather than at each operation.
    delayed_name_removal: bool = True
    #: Judge counters by the label ``__type__`` rather than by the metric's name.
    type_and_unit_labels: bool = False
    #: Let start timestamps tell counter resets.
    start_timestamps: bool = False
    #: Experimental parts of the language that are switched on.
    features: Features = STABLE


@dataclass(frozen=True, slots=True)
class Steps:
    """Evaluation times: from ``start_ms`` every ``step_ms``, ``count`` of them."""

    start_ms: int
    step_ms: int
    count: int

    @classmethod
    def between(cls, start_ms: int, end_ms: int, step_ms: int) -> Steps:
        """All steps from start to end, both included."""
        return cls(start_ms, step_ms, max(0, (end_ms - start_ms) // step_ms + 1))

    @property
    def end_ms(self) -> int:
        """The last step, not after the end asked for."""
        return self.start_ms + (self.count - 1) * self.step_ms

    @property
    def times(self) -> Int64Array:
        return self.start_ms + np.arange(self.count, dtype=np.int64) * self.step_ms

    def first(self) -> Steps:
        """The first step alone."""
        return Steps(self.start_ms, self.step_ms, 1)


@dataclass(slots=True)
class QueryContext:
    """One query's surroundings. ``start_ms``, ``end_ms`` and ``step_ms`` are the whole query's."""

    source: SeriesSource
    options: EngineOptions
    start_ms: int
    end_ms: int
    step_ms: int
    cancel: CancelToken = field(default_factory=CancelToken)
    annotations: Annotations = field(default_factory=Annotations)
    deadline: float = 0.0
    held: int = 0  # samples in memory now
    peak: int = 0
    total: int = 0  # samples read
    _blocks: dict[tuple[object, ...], SeriesBlock] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.deadline = time.monotonic() + self.options.timeout_s

    def check(self) -> None:
        """Raises QueryCanceled or QueryTimeout when it is time to stop."""
        if self.cancel.canceled:
            raise QueryCanceled
        if time.monotonic() > self.deadline:
            raise QueryTimeout

    def hold(self, samples: int) -> None:
        """Account for samples in memory. Raises TooManySamples."""
        self.held += samples
        self.peak = max(self.peak, self.held)
        if self.held > self.options.max_samples:
            raise TooManySamples

    def check_cells(self, cells: int) -> None:
        """Raises TooManySamples where a matrix of so many cells takes too much memory."""
        if cells * _CELL_BYTES > self.options.memory_bytes // 2:
            raise TooManySamples

    def select(
        self, matchers: Sequence[Matcher], start_ms: int, end_ms: int, hints: SelectHints
    ) -> SeriesBlock:
        """Ask the source; the same question is asked once per query."""
        self.check()
        key = (tuple(matchers), start_ms, end_ms, hints.skip_buckets, _grid(hints))
        block = self._blocks.get(key)
        if block is None:
            most = min(hints.max_samples, self.options.memory_bytes // _READ_BYTES)
            limited = replace(hints, max_samples=most)
            block = self.source.select(matchers, start_ms, end_ms, limited)
            self._blocks[key] = self._checked(block)
        return block

    def select_parts(
        self, matchers: Sequence[Matcher], start_ms: int, end_ms: int, hints: SelectHints
    ) -> Iterator[SeriesBlock]:
        """Ask the source for some series at a time, if it can answer so."""
        key = (tuple(matchers), start_ms, end_ms, hints.skip_buckets, _grid(hints))
        if key in self._blocks or not isinstance(self.source, PartedSource):
            yield self.select(matchers, start_ms, end_ms, hints)
            return
        found = 0
        for block in self.source.select_parts(matchers, start_ms, end_ms, hints):
            found += 1
            first = block
            yield self._checked(block)
        if found == 1:
            self._blocks[key] = first  # all there is: the query may ask for it again

    def _checked(self, block: SeriesBlock) -> SeriesBlock:
        for warning in block.warnings:
            self.annotations.plain_warning(warning)
        self.check()
        return block

    def hints(self, **parts: object) -> SelectHints:
        """Hints with what is left of the query's limits filled in."""
        return SelectHints(
            max_samples=self.options.max_samples,
            part_samples=self.options.part_samples,
            timeout_s=max(0.0, self.deadline - time.monotonic()),
            **parts,  # type: ignore[arg-type]
        )


def _grid(hints: SelectHints) -> int:
    """The step a block may have been thinned to, -1 where it has all samples."""
    return hints.step_ms if hints.newest_per_step else -1
