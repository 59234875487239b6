"""What was read lately, kept in memory for as long as no stored batch has changed it.

Only while the database is embedded: where other processes write too, nobody tells. A person opens
traces that a search has just read, and a page asks for the same names again and again. Of a search
each step back in time is remembered by itself, so that asked again beside ingest it reads the
latest minutes alone.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

import numpy as np
import pyarrow as pa

from ...spans.known import NameList
from ...spans.model import Span
from ...spans.news import News

#: Of so many batches it is known what they changed while something was read.
_BATCHES = 8
#: Read anew after so long: retention deletes without telling.
_AGE_S = 300.0
_TRACE_BYTES, _NAMES_BYTES, _STEPS_BYTES = 40_000_000, 8_000_000, 16_000_000
_MANY_BYTES = 2_000_000
#: What an entry, a span and each text of it take beside the text, about.
_ENTRY_BYTES, _SPAN_BYTES, _TEXT_BYTES = 400, 900, 60
#: What the parameters of a statement take, and the table of its answer beside its rows.
_PARAMETERS_BYTES = 3000

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")
_Changed: TypeAlias = Callable[[Collection[Key]], Collection[Key]]


@dataclass(frozen=True, slots=True)
class Step:
    """A statement about spans, and the five minutes that it looks at."""

    sql: str
    parameters: tuple[tuple[str, Any], ...]
    tenant: str
    #: The first and the last, both in it.
    buckets: tuple[int, int]

    def touched_by(self, buckets: Mapping[str, Sequence[int]]) -> bool:
        """Whether any of these five minutes, in order by tenant, are looked at."""
        some = buckets.get(self.tenant, ())
        first, last = self.buckets
        at = bisect_left(some, first)
        return at < len(some) and some[at] <= last


#: A trace's tenant and folded id.
Place: TypeAlias = tuple[str, int]
#: Distinct spans by low trace id, of all traces with one folded id.
Traces: TypeAlias = Mapping[str, list[Span]]


class Memory(Generic[Key, Value]):
    """Values by key, the least recently asked for making room. Thread-safe."""

    def __init__(self, capacity: int, clock: Callable[[], float] = time.monotonic) -> None:
        """``capacity`` is in bytes; one value may take half of it."""
        self._capacity = capacity
        self._clock = clock
        self._lock = threading.Lock()
        self._held: OrderedDict[Key, tuple[Value, int, float]] = OrderedDict()
        self._bytes = 0
        self._number = 0
        #: Which of some keys the latest batches have changed, of each batch.
        self._latest: deque[_Changed[Key]] = deque(maxlen=_BATCHES)

    def number(self) -> int:
        """Of the newest batch that can be read. To be asked before reading."""
        return self._number

    def get(self, key: Key) -> Value | None:
        """What is held and true."""
        with self._lock:
            held = self._held.get(key)
            if held is None:
                return None
            value, _, read_at = held
            if self._clock() - read_at > _AGE_S:
                self._drop(key)
                return None
            self._held.move_to_end(key)
            return value

    def put(self, key: Key, value: Value, size: int, number: int) -> None:
        """Hold what was read after ``number`` was asked for, if no batch changed it since."""
        size += _ENTRY_BYTES
        with self._lock:
            if size > self._capacity // 2 or self._changed_since(key, number):
                return
            self._drop(key)
            self._held[key] = value, size, self._clock()
            self._bytes += size
            while self._bytes > self._capacity:
                self._drop(next(iter(self._held)))

    def forget(self) -> None:
        """Anything may have changed."""
        with self._lock:
            self._number += 1
            self._latest.clear()
            self._held.clear()
            self._bytes = 0

    def underway(self, news: News) -> None:
        """See :class:`lookout_server.spans.news.Rememberer`."""

    def _changed(self, changed: _Changed[Key]) -> None:
        """A batch can be read: drop those of the keys held that it has changed."""
        with self._lock:
            self._number += 1
            self._latest.append(changed)
            if self._held:
                for key in list(changed(self._held)):
                    self._drop(key)

    def _changed_since(self, key: Key, number: int) -> bool:
        """Whether a batch after that one may have changed a key."""
        later = self._number - number
        if later > len(self._latest):
            return True  # too long ago to be known
        batches = list(self._latest)[len(self._latest) - later :]
        return any(key in changed([key]) for changed in batches)

    def _drop(self, key: Key) -> None:
        held = self._held.pop(key, None)
        if held is not None:
            self._bytes -= held[1]


class TraceMemory(Memory[Place, Traces]):
    """Whole traces."""

    def __init__(self) -> None:
        super().__init__(_TRACE_BYTES)

    def keep(self, place: Place, traces: Traces, number: int) -> None:
        """Hold what was read of a folded id."""
        self.put(place, traces, sum(map(_span_bytes, _all(traces))), number)

    def stored(self, news: Iterable[News]) -> None:
        """See :class:`lookout_server.spans.news.Rememberer`."""
        folds = np.concatenate([batch.folds for batch in news])

        def changed(held: Collection[Place]) -> Collection[Place]:
            places = list(held)
            ids = np.array([fold for _, fold in places], np.uint32)
            return [places[at] for at in np.flatnonzero(np.isin(ids, folds)).tolist()]

        self._changed(changed)


class NamesMemory(Memory[NameList, list[str]]):
    """Lists of names to choose from."""

    def __init__(self) -> None:
        super().__init__(_NAMES_BYTES)

    def keep(self, place: NameList, names: list[str], number: int) -> None:
        """Hold what was read of a list."""
        self.put(place, names, sum(len(name) + _TEXT_BYTES for name in names), number)

    def stored(self, news: Iterable[News]) -> None:
        """See :class:`lookout_server.spans.news.Rememberer`."""
        lists = {key for batch in news for key in batch.lists}
        self._changed(lists.intersection)


class StepMemory(Memory[Step, pa.Table]):
    """What the steps of searches found."""

    def __init__(self) -> None:
        super().__init__(_STEPS_BYTES)

    def keep(self, step: Step, found: pa.Table, number: int) -> None:
        """Hold what was read of a step."""
        size = found.nbytes + len(step.sql) + _PARAMETERS_BYTES
        self.put(step, found, size, number)

    def stored(self, news: Iterable[News]) -> None:
        """See :class:`lookout_server.spans.news.Rememberer`."""
        buckets: dict[str, set[int]] = {}
        for batch in news:
            for tenant, some in batch.buckets.items():
                buckets.setdefault(tenant, set()).update(some)
        ordered = {tenant: sorted(some) for tenant, some in buckets.items()}
        self._changed(lambda held: [step for step in held if step.touched_by(ordered)])


class ManyMemory(Memory[Step, bool]):
    """That there were more spans than somebody asked: batches only add to them."""

    def __init__(self) -> None:
        super().__init__(_MANY_BYTES)

    def keep(self, step: Step, number: int) -> None:
        """Hold that a step counted many."""
        self.put(step, True, len(step.sql) + _PARAMETERS_BYTES, number)

    def stored(self, news: Iterable[News]) -> None:
        """See :class:`lookout_server.spans.news.Rememberer`."""
        self._changed(lambda held: ())


def _all(traces: Traces) -> Iterable[Span]:
    return (span for spans in traces.values() for span in spans)


def _span_bytes(span: Span) -> int:
    texts = [*span.tags.keys(), *span.tags.values(), *(note.value for note in span.annotations)]
    return _SPAN_BYTES + sum(map(len, texts)) + _TEXT_BYTES * len(texts) + len(span.name)
