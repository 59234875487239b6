"""What a stored batch changes for those who remember what they read before."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from .known import NameList

LINK_COLUMNS = ("tenant", "low", "bucket", "ids", "ts", "flags", "service", "address", "remote")


@dataclass(frozen=True, slots=True)
class News:
    """Of one batch: which traces and times have more spans now, and which lists more names."""

    #: Folded trace ids, of whatever tenant.
    folds: npt.NDArray[np.uint32]
    lists: frozenset[NameList]
    #: By tenant the five minutes that have more spans, in order, and how many more.
    buckets: Mapping[str, Mapping[int, int]]
    #: Of each tenant's traces (by folded id) the five minutes that have more spans.
    index: pa.Table
    #: What links are made of, and the tenant: some columns of the table ``spans``.
    spans: pa.Table

    @classmethod
    def of(cls, tables: Mapping[str, pa.Table]) -> News:
        """The news in the tables of a batch."""
        names = tables["span_names"]
        fields = (names.column(name).to_pylist() for name in ("tenant", "what", "service"))
        index = tables["trace_index"].select(("tenant", "fold", "bucket"))
        folds = index.column("fold").to_numpy()
        lists = frozenset(zip(*fields, strict=True))
        spans = tables["spans"].select(LINK_COLUMNS)
        return cls(folds, lists, _buckets(tables["span_counts"]), index, spans)


def _buckets(counts: pa.Table) -> dict[str, dict[int, int]]:
    fields = (counts.column(name).to_pylist() for name in ("tenant", "bucket", "spans"))
    buckets: dict[str, dict[int, int]] = {}
    for tenant, bucket, spans in sorted(zip(*fields, strict=True)):
        of_tenant = buckets.setdefault(tenant, {})
        of_tenant[bucket] = of_tenant.get(bucket, 0) + spans
    return buckets


class Rememberer(Protocol):
    """Who remembers what was read. Called on the writer's thread: it must be quick."""

    def underway(self, news: News) -> None:
        """This batch is about to be stored, and nothing else is being stored."""

    def stored(self, news: Iterable[News]) -> None:
        """These batches can be read now."""

    def forget(self) -> None:
        """Anything may have changed."""


R = TypeVar("R", bound=Rememberer)


class NewsDesk:
    """Collects what is being stored, and tells it when it can be read (the writer's thread)."""

    def __init__(self) -> None:
        self._rememberers: list[Rememberer] = []
        self._underway: list[News] = []

    def add(self, rememberer: Rememberer) -> None:
        """Before the first batch that it has to know of."""
        self._rememberers.append(rememberer)

    def rememberer(self, kind: type[R], make: Callable[[], R]) -> R:
        """The one of a kind, made if there is none yet."""
        for known in self._rememberers:
            if isinstance(known, kind):
                return known
        made = make()
        self.add(made)
        return made

    def underway(self, tables: Mapping[str, pa.Table]) -> None:
        """These tables are about to be stored."""
        if self._rememberers:
            news = News.of(tables)
            self._underway.append(news)
            for rememberer in self._rememberers:
                rememberer.underway(news)

    def stored(self) -> None:
        """What was underway can be read."""
        news, self._underway = self._underway, []
        if news:
            for rememberer in self._rememberers:
                rememberer.stored(news)

    def forget(self) -> None:
        """What was underway may be stored in parts."""
        for rememberer in self._rememberers:
            rememberer.forget()
