"""Which traces of a window go on after it, kept up with each stored batch.

While spans come, those after a window that ended lately change all the time, and what is before its
end does not. So the traces that have spans there are remembered, and of each batch which of its
traces are among them: asked again nothing is read, however much came after the window.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from ...spans.news import News
from ...spans.tables import bucket_of
from .memory import Memory

#: Ids of batches that are kept to be looked at: ten minutes of 40,000 spans a second.
_IDS_BYTES = 16_000_000
#: Traces in windows, with what goes on of them.
_GOING_ON_BYTES = 12_000_000
#: A window with more traces than this is asked for anew.
BEFORE_MOST = 200_000

Folds = npt.NDArray[np.uint32]
_NONE = np.empty(0, np.uint32)


@dataclass(frozen=True, slots=True)
class Window:
    """The end of a tenant's window: times in microseconds, both ends in it, and what is after."""

    tenant: str
    since: int
    latest: int
    #: The five minutes after those that the window ends in, first and last.
    later: tuple[int, int]

    @property
    def buckets(self) -> tuple[int, int]:
        """The five minutes that it looks at itself."""
        return bucket_of(self.since), bucket_of(self.latest)


@dataclass(frozen=True, slots=True)
class GoingOn:
    """Traces of a window by their folded ids, in order, and those of them seen after it."""

    before: Folds
    after: Folds
    #: The newest batch that was looked at.
    number: int

    @property
    def nbytes(self) -> int:
        return self.before.nbytes + self.after.nbytes

    def with_newer(self, folds: Folds, number: int) -> GoingOn:
        """The same with what batches up to that one have."""
        more = folds[np.isin(folds, self.before, kind="sort")] if len(folds) else folds
        after = np.union1d(self.after, more) if len(more) else self.after
        return GoingOn(self.before, after, number)


@dataclass(frozen=True, slots=True)
class _Batch:
    """By tenant: folded ids, and the five minutes each has spans in."""

    of: Mapping[str, tuple[Folds, Folds]]
    nbytes: int

    @classmethod
    def made(cls, news: News) -> _Batch:
        tenants = news.index.column("tenant").combine_chunks()
        folds, buckets = (news.index.column(name).to_numpy() for name in ("fold", "bucket"))
        of: dict[str, tuple[Folds, Folds]] = {}
        for tenant in pc.unique(tenants).to_pylist():
            mine = pc.equal(tenants, tenant).to_numpy(zero_copy_only=False)
            of[tenant] = folds[mine], buckets[mine]
        return cls(of, folds.nbytes + buckets.nbytes)

    def within(self, tenant: str, buckets: tuple[int, int]) -> Folds:
        """The ids that have spans in a range of five minutes."""
        folds, places = self.of.get(tenant, (_NONE, _NONE))
        return folds[(places >= buckets[0]) & (places <= buckets[1])]


class LateTraces(Memory[Window, GoingOn]):
    """What goes on of the traces in windows. Thread-safe."""

    def __init__(self) -> None:
        super().__init__(_GOING_ON_BYTES)
        self._adding = threading.Lock()
        self._batches: deque[_Batch] = deque()
        self._batch_bytes = 0

    def keep(self, window: Window, going_on: GoingOn) -> None:
        """Hold what was read, or brought up to a batch."""
        self.put(window, going_on, going_on.nbytes, self.number())

    def now(self, window: Window) -> GoingOn | None:
        """What is held, with all that can be read now; None where that is not known."""
        held = self.get(window)
        if held is None:
            return None
        with self._adding:
            number = self.number()
            later = number - held.number
            if later > len(self._batches):
                return None
            batches = [self._batches[-at] for at in range(later, 0, -1)]
        if any(len(batch.within(window.tenant, window.buckets)) for batch in batches):
            return None  # more traces are in the window itself
        newer = [batch.within(window.tenant, window.later) for batch in batches]
        held = held.with_newer(np.concatenate([_NONE, *newer]), number)
        self.keep(window, held)
        return held

    def forget(self) -> None:
        """Anything may have changed."""
        with self._adding:
            super().forget()
            self._batches.clear()
            self._batch_bytes = 0

    def stored(self, news: Iterable[News]) -> None:
        """See :class:`lookout_server.spans.news.Rememberer`."""
        for one in news:
            batch = _Batch.made(one)
            with self._adding:
                self._changed(lambda held: ())  # what is held is brought up to it when asked for
                self._batches.append(batch)
                self._batch_bytes += batch.nbytes
                while self._batch_bytes > _IDS_BYTES:
                    self._batch_bytes -= self._batches.popleft().nbytes
