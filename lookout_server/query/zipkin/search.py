"""Search for traces: candidates step by step, whole traces, the exact test, order and pages."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ...spans.model import Span
from ...spans.tables import BUCKET_US, bucket_of
from .candidates import Candidates, Driver, plan_drivers, service_driver
from .longest import Asked, Histogram, LongestFirst
from .request import BadQuery, QueryRequest, trace_timestamp
from .traces import TraceReader, by_strict_id

#: How far back each step looks: over the narrow table, and over the wide one, whose last is a day
#: and an hour more. A busy service answers from the first step, a rare tag needs three a day.
_NARROW_STEPS_US = (900_000_000, 7_200_000_000, 57_600_000_000)
_WIDE_STEPS_US = (300_000_000, 4_800_000_000, 97_200_000_000)
#: Where nothing is asked for, some seconds have enough while much comes.
_LATEST_STEPS_US = (5_000_000, *_WIDE_STEPS_US)
#: How much wider than the one before it is each step after those.
_WIDER = 8
_SECOND_US = 1_000_000
#: Candidates asked for at once, and traces read at once beyond the limit: most candidates match.
_MOST_FACTOR, _MOST_LEAST = 4, 200
_CHUNK_EXTRA = 4
#: Spans within the slack after the window that are looked through for what is asked; with more
#: of them only traces that cross its end are, up to so many of them whatever they have.
_LATER_MOST, _CROSSING_MOST = 100_000, 500
#: By duration: how many times as many spans are looked at where the longest did not match.
_WIDER_BY_DURATION = 8
_LONG_MAX = 2**63 - 1

_Trace = list[Span]


def _steps(first: Sequence[int]) -> Iterator[int]:
    """How far back each step looks, without end."""
    yield from first
    step = first[-1]
    while True:
        step *= _WIDER
        yield step


def _back(time_us: int, step_us: int) -> int:
    """Where a step back from a time begins.

    But for the shortest it is where five minutes begin: so steps are the same in each search.
    """
    since = time_us - step_us
    return since if step_us < BUCKET_US else bucket_of(since) * BUCKET_US


def _steps_of(candidates: Candidates) -> Iterator[int]:
    if candidates.anything:
        return _steps(_LATEST_STEPS_US)
    return _steps(_WIDE_STEPS_US if candidates.by_tags else _NARROW_STEPS_US)


@dataclass(frozen=True, slots=True)
class Page:
    """Where an earlier answer ended: the sort value and id of its last trace."""

    value: int
    trace_id: str

    @classmethod
    def parse(cls, cursor: str) -> Page:
        """The page of a cursor. Raises BadQuery."""
        try:
            text, _, trace_id = base64.urlsafe_b64decode(cursor).decode().partition("|")
            value = int(text)
        except ValueError:
            value, trace_id = -1, ""
        if not 0 <= value <= _LONG_MAX:
            raise BadQuery(f"cursor {cursor!r} is none that this API gave out")
        return cls(value, trace_id)

    def cursor(self) -> str:
        """The page as the API gives it out."""
        return base64.urlsafe_b64encode(f"{self.value}|{self.trace_id}".encode()).decode()


class Order:
    """How traces are sorted: by a value, the highest first, and by id where it is equal."""

    def __init__(self, value: Callable[[Sequence[Span]], int], after: Page | None) -> None:
        self.value = value
        self._after = (after.value, after.trace_id) if after else None

    def key(self, trace: Sequence[Span]) -> tuple[int, str]:
        return self.value(trace), trace[0].trace_id

    def follows(self, trace: Sequence[Span]) -> bool:
        """Whether a trace belongs behind the page that was given out before."""
        return self._after is None or self.key(trace) < self._after

    def page(self, trace: Sequence[Span]) -> Page:
        return Page(*self.key(trace))


class TraceSearch:
    """One search of one tenant."""

    def __init__(
        self, reader: TraceReader, request: QueryRequest, slack_us: int, *, strict: bool
    ) -> None:
        self._reader = reader
        self._request = request
        self._slack_us = slack_us
        self._strict = strict
        self._seen: set[int] = set()
        self._matched: list[_Trace] = []

    async def most_recent(self, after: Page | None = None) -> tuple[list[_Trace], Page | None]:
        """Traces that match, most recent first, and where the next page begins if there is one."""
        request = self._request
        order = Order(trace_timestamp, after)
        drivers = plan_drivers(request)
        latest = min(request.end_us, after.value) if after else request.end_us
        begin = max(request.begin_us, 0)
        candidates = Candidates(self._reader.tenant, drivers, latest, begin, self._slack_us)
        await self._step_back(candidates, order)
        return self._answer(order)

    async def longest(self, after: Page | None = None) -> tuple[list[_Trace], Page | None]:
        """Traces that match, by the longest span (of the service asked for), and the next page."""
        request = self._request
        order = Order(self._longest_span, after)
        drivers = plan_drivers(request)
        others = [d for d in drivers if d.conditions or d.alternatives]
        if drivers == [service_driver(request)]:
            others = []  # the service alone, which durations are looked for by anyway
        until = request.end_us + self._slack_us
        if await self._taken_later(drivers, order):
            until = request.end_us
        candidates = LongestFirst(self._reader.tenant, request, others, self._slack_us, until)
        await self._by_duration(candidates, order, after.value if after else _LONG_MAX)
        return self._answer(order)

    async def _taken_later(self, drivers: Sequence[Driver], order: Order) -> bool:
        """Take all traces that go on after the window, if much came there and few of them do.

        What is left to look at ends with the window, and spans that come now do not change it.
        """
        begin, end = max(self._request.begin_us, 0), self._request.end_us
        candidates = Candidates(self._reader.tenant, drivers, end, begin, self._slack_us)
        if not await self._many_later(candidates):
            return False
        later = await self._reader.crossing(candidates.crossing(candidates.earliest))
        if len(later) > _CROSSING_MOST:
            return False
        await self._take(sorted(later), order)
        return True

    def _answer(self, order: Order) -> tuple[list[_Trace], Page | None]:
        limit = self._request.limit
        self._matched.sort(key=order.key, reverse=True)
        answer = self._matched[:limit]
        return answer, order.page(answer[-1]) if len(answer) == limit else None

    async def _step_back(self, candidates: Candidates, order: Order) -> None:
        most = max(self._request.limit * _MOST_FACTOR, _MOST_LEAST)
        steps = _steps_of(candidates)
        many_later = await self._many_later(candidates)
        until = candidates.last
        if many_later:
            candidates.end_with_window()
            until = candidates.latest
        found: list[tuple[int, int]] = []
        since = max(_back(candidates.latest, next(steps)), candidates.earliest)
        while until >= candidates.earliest:
            rows = (await self._reader.candidates(candidates.step(since, until, most)))[:most]
            full = len(rows) == most
            if full and until > candidates.latest and rows[0][1] > candidates.latest:
                candidates.end_with_window()
                many_later, until = True, candidates.latest
                continue
            # Of what was not read, all is before the oldest row, or before this step.
            rest = rows[-1][1] if full else since - 1
            found += rows
            if len(self._matched) + len(found) >= self._request.limit:
                if await self._take_until_complete(found, rest, order):
                    break
                found = []
            if not full:
                until = since - 1
                since = max(_back(since, next(steps)), candidates.earliest)
            elif rest + _SECOND_US >= until:
                most *= 4  # one moment alone has more
            else:
                until = rest + _SECOND_US
        else:
            await self._take([fold for fold, _ in found], order)  # fewer than are asked for
        if many_later:
            await self._take_later(candidates, order)

    async def _many_later(self, candidates: Candidates) -> bool:
        """Whether so much came after the window that it is rather not looked through."""
        if candidates.anything or candidates.latest >= time.time_ns() // 1000:
            return False
        return await self._reader.more_than(_LATER_MOST, candidates.later())

    async def _take_later(self, candidates: Candidates, order: Order) -> None:
        """Read what matches by a span after the window, where that is too much to take it all.

        Only a trace counts that began after the last that is answered, and so has a span there.
        """
        begun = max(self._last_value(order) or 0, candidates.earliest)
        later = await self._reader.crossing(candidates.crossing(begun))
        if len(later) > _CROSSING_MOST:
            later = {f for f, _ in await self._reader.candidates(candidates.after(begun))}
        await self._take(sorted(later), order)

    async def _by_duration(self, candidates: LongestFirst, order: Order, upper: int) -> None:
        most = wanted = max(self._request.limit * _MOST_FACTOR, _MOST_LEAST)
        histogram = Histogram(*await self._reader.durations(candidates.histogram(upper)))
        while True:
            least, spans = histogram.least(wanted)
            asked = Asked(min(least, upper), upper)
            rows = await self._reader.candidates(candidates.candidates(asked, spans, most))
            full = len(rows) == most
            # Of what was not read, all is as short as the last row, or shorter than was asked for.
            rest = rows[-1][1] if full else asked.least - 1
            if await self._take_until_complete(rows, rest, order) or rest < 0:
                return
            if full and rest == rows[0][1]:
                most *= 4  # one duration alone has more
            elif full:
                upper = rest
            else:
                upper = rest
                wanted = max(wanted, spans) * _WIDER_BY_DURATION

    async def _take_until_complete(
        self, rows: Sequence[tuple[int, int]], rest: int, order: Order
    ) -> bool:
        """Read candidates in order; True as soon as no other can be among the first."""
        size = self._request.limit + _CHUNK_EXTRA
        at = 0
        while at < len(rows):
            await self._take([fold for fold, _ in rows[at : at + size]], order)
            at += size
            size *= 2
            bound = rows[at][1] if at < len(rows) else rest
            if self._complete(bound, order):
                return True
        return self._complete(rest, order)

    def _complete(self, bound: int, order: Order) -> bool:
        """Whether as many traces as asked for lie above the bound of all that was not read.

        A trace not found yet has its matching spans before the bound, so it began before it.
        """
        last = self._last_value(order)
        return last is not None and last > bound

    def _last_value(self, order: Order) -> int | None:
        """By what the last trace of the answer is sorted; None while there are too few."""
        limit = self._request.limit
        if len(self._matched) < limit:
            return None
        return sorted(map(order.value, self._matched), reverse=True)[limit - 1]

    async def _take(self, folds: Sequence[int], order: Order) -> None:
        new = [fold for fold in folds if fold not in self._seen]
        self._seen.update(new)
        request = self._request
        # As in Zipkin a trace must match as its low 64 bits group it and, if ids are strict, alone.
        for spans in (await self._reader.fetch(set(new))).values():
            if not request.matches(spans):
                continue
            traces = by_strict_id(spans) if self._strict else [spans]
            self._matched += [t for t in traces if request.matches(t) and order.follows(t)]

    def _longest_span(self, trace: Sequence[Span]) -> int:
        service = self._request.service
        return max(
            (s.duration for s in trace if not service or s.local.service == service), default=0
        )
