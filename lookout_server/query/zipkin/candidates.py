"""First step of a search: SQL that finds traces which may match, newest first.

A trace matches when each condition holds for *some* span, so a condition is a set of traces. One
condition drives: its spans are read step by step back through time. The others narrow it by
``IN``, each within the slack (the longest trace that is searched exactly) around the step. What
comes out is a superset, which :meth:`.request.QueryRequest.matches` decides on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...spans.columns import ERROR, SHAPE_SEPARATOR
from ...spans.tables import BUCKET_US, bucket_of, duration_steps, second_of, tag_token
from .late import BEFORE_MOST, Window
from .request import QueryRequest

_LONG_MAX = 2**63 - 1
_SECOND_US = 1_000_000


@dataclass(frozen=True, slots=True)
class Driver:
    """One condition as SQL over ``span_search`` or ``spans``."""

    table: str
    conditions: tuple[str, ...] = ()
    #: Any one of these must hold too. Each becomes a SELECT of its own, because ClickHouse skips
    #: nothing by its indexes where the two stand in one OR (seen: 855 of 980 granules against 40).
    alternatives: tuple[str, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def time(self) -> str:
        """SQL of a span's time in microseconds, as exact as the table has it."""
        if self.table == "span_search":
            return f"toInt64(second) * {_SECOND_US}"
        # A span without timestamp counts as late as it can be, lest a search stop before it.
        return f"if(ts = 0, (toInt64(bucket) + 1) * {BUCKET_US} - 1, ts)"

    def select(self, columns: str, prefix: str, *further: str) -> str:
        """SELECT in a time range, whose parameters are named with the prefix."""
        return " UNION ALL ".join(self.selects(columns, prefix, *further))

    def selects(self, columns: str, prefix: str, *further: str) -> list[str]:
        """The same, one SELECT for each alternative."""
        return [
            f"SELECT {columns} FROM {self.table} WHERE "
            + " AND ".join(part for part in (self._where(prefix), alternative, *further) if part)
            for alternative in self.alternatives or ("",)
        ]

    def _where(self, prefix: str) -> str:
        if self.table == "span_search":
            times = f"second BETWEEN {{{prefix}_s0:UInt32}} AND {{{prefix}_s1:UInt32}}"
        else:
            times = (
                f"bucket BETWEEN {{{prefix}_b0:UInt32}} AND {{{prefix}_b1:UInt32}} "
                f"AND {self.time} BETWEEN {{{prefix}_t0:Int64}} AND {{{prefix}_t1:Int64}}"
            )
        return " AND ".join(("tenant = {tenant:String}", times, *self.conditions))


def range_parameters(prefix: str, since: int, until: int) -> dict[str, int]:
    """Parameters of a time range (microseconds, both ends in it) for :meth:`Driver.select`."""
    return {
        f"{prefix}_s0": second_of(since),
        f"{prefix}_s1": second_of(until),
        f"{prefix}_b0": bucket_of(since),
        f"{prefix}_b1": bucket_of(until),
        f"{prefix}_t0": min(since, _LONG_MAX),
        f"{prefix}_t1": min(until, _LONG_MAX),
    }


def plan_drivers(request: QueryRequest) -> list[Driver]:
    """The conditions of a request, the one to drive by first."""
    with_values_first = sorted(request.annotations.items(), key=lambda term: not term[1])
    drivers = [
        _tag_driver(request, number, key, value)
        for number, (key, value) in enumerate(with_values_first)
    ]
    drivers += _search_drivers(request)
    return drivers or [service_driver(request)]


def service_driver(request: QueryRequest) -> Driver:
    """Spans of the service asked for, or any."""
    if not request.service:
        return Driver("spans")
    conditions, parameters = _service(request)
    return Driver("span_search", conditions, parameters=parameters)


def _service(request: QueryRequest) -> tuple[tuple[str, ...], dict[str, Any]]:
    if not request.service:
        return (), {}
    return ("service = {service:String}",), {"service": request.service}


def _has_key(key: str, plain: str) -> str:
    """SQL for spans that have a tag of a key, whose parameter is ``plain``."""
    if key == "error":
        return f"bitAnd(flags, {ERROR}) != 0"
    if not key:  # the shape of that key alone is that of none
        return "arrayExists(tag -> startsWith(tag, '='), arrayConcat(tags_low, tags_high))"
    if SHAPE_SEPARATOR in key:
        return f"position(shape, {plain}) > 0"
    # Texts of texts ClickHouse computes once for each distinct shape, arrays for each span.
    between = f"concat('{SHAPE_SEPARATOR}', %s, '{SHAPE_SEPARATOR}')"
    return f"position({between % 'shape'}, {between % plain}) > 0"


def _tag_driver(request: QueryRequest, number: int, key: str, value: str) -> Driver:
    conditions, parameters = _service(request)
    name = f"tag{number}"
    plain = f"{{{name}:String}}"
    if value:
        parameters[name] = tag_token(key, value)
        parameters[f"{name}_key"] = key
        # A shape is cheap to read and a tag is not: where few spans have the key, tags are read
        # for those alone. It may find the key within another one, and never misses it.
        keyed = f"position(shape, {{{name}_key:String}}) > 0"
        places = (f"has(tags_high, {plain})", f"has(tags_low, {plain})")
        return Driver("spans", (*conditions, keyed), places, parameters)
    parameters[name] = key
    either = (_has_key(key, plain), f"has(annotations, {plain})")
    return Driver("spans", conditions, either, parameters)


def _search_drivers(request: QueryRequest) -> list[Driver]:
    """Conditions that the search table answers, the most selective first."""
    terms: list[tuple[str, dict[str, Any]]] = []
    if request.span_name:
        terms.append(("name = {name:String}", {"name": request.span_name}))
    if request.remote_service:
        terms.append(("remote_service = {remote:String}", {"remote": request.remote_service}))
    if request.min_duration is not None:
        longest = _LONG_MAX if request.max_duration is None else request.max_duration
        least, most = duration_steps(np.array([request.min_duration, longest], np.int64)).tolist()
        condition = "duration_step BETWEEN {step0:UInt8} AND {step1:UInt8}"
        terms.append((condition, {"step0": least, "step1": most}))
    conditions, parameters = _service(request)
    return [
        Driver("span_search", (*conditions, condition), parameters=parameters | own)
        for condition, own in terms
    ]


@dataclass(frozen=True, slots=True)
class Reading:
    """Statements with the same parameters, which may run at once."""

    statements: tuple[str, ...]
    parameters: Mapping[str, Any]

    @property
    def buckets(self) -> tuple[int, int]:
        """The first and the last five minutes that they look at."""
        ends = [value for name, value in self.parameters.items() if name.endswith(("_b0", "_b1"))]
        return min(ends), max(ends)


@dataclass(frozen=True, slots=True)
class Crossing:
    """SQL for the traces of a window that go on after it; columns ``fold`` and ``last``."""

    window: Window
    #: Traces with a span in the window; one more than may be remembered where there are too many.
    before: Reading
    #: Those of them that go on in the five minutes that the window ends in, and after these.
    here: Reading
    there: Reading


class Candidates:
    """The SQL of one search's steps. Times in microseconds."""

    def __init__(
        self, tenant: str, drivers: Sequence[Driver], latest: int, earliest: int, slack_us: int
    ) -> None:
        """Of traces that began between earliest and latest, both in it, and some before."""
        self._tenant = tenant
        self._driver, *self._others = drivers
        self._slack = slack_us
        # Without conditions it is the span that dates the trace that is looked for.
        self.anything = not self._driver.conditions and not self._driver.alternatives
        self.latest = latest
        self.last = latest if self.anything else latest + slack_us
        self._near_last = self.last  # beyond which no other condition is looked for
        # Whole five minutes, so that another search may have asked the same.
        self.earliest = bucket_of(earliest - (0 if self.anything else slack_us)) * BUCKET_US

    @property
    def by_tags(self) -> bool:
        """Whether steps read the wide table."""
        return self._driver.table == "spans"

    def end_with_window(self) -> None:
        """Look at nothing after the window: traces that go on there are looked for apart."""
        self._near_last = self.latest

    def step(self, since: int, until: int, most: int) -> Reading:
        """SQL for the traces whose last span of the driving condition is in the range.

        Without a condition: for those that have a span there, by when they began.
        Both ends are in it. One query for each alternative, which may run at once; columns ``fold``
        and ``last``; of each at most so many, newest first.
        """
        queries = (f"{one} ORDER BY last DESC LIMIT {most}" for one in self._selects())
        return Reading(tuple(queries), self._parameters(since, until))

    def later(self) -> Reading:
        """SQL for how many spans are in the five minutes after the window that are looked at."""
        sql = (
            "SELECT sum(spans) AS spans FROM span_counts WHERE tenant = {tenant:String} "
            "AND bucket BETWEEN {later_b0:UInt32} AND {later_b1:UInt32}"
        )
        return Reading((sql,), {"tenant": self._tenant, **self._later()})

    def crossing(self, since: int) -> Crossing:
        """SQL for all traces that have a span in the window since then, and one after it."""
        before = Driver("spans").select("fold", "before")
        here = Driver("spans").select("fold", "here", f"fold GLOBAL IN ({before})")
        there = (
            "SELECT fold FROM trace_index WHERE tenant = {tenant:String} "
            "AND bucket BETWEEN {later_b0:UInt32} AND {later_b1:UInt32} "
            f"AND fold GLOBAL IN ({before})"
        )
        first = max(self.latest - self._slack, since)
        in_window = {"tenant": self._tenant, **self._before(since)}
        rest = (bucket_of(self.latest) + 1) * BUCKET_US - 1  # of its five minutes
        in_rest = in_window | range_parameters("here", self.latest + 1, rest)
        later = self._later()
        return Crossing(
            Window(self._tenant, first, self.latest, (later["later_b0"], later["later_b1"])),
            Reading((_folds(before, BEFORE_MOST + 1),), in_window),
            Reading((_folds(here),), in_rest),
            Reading((_folds(there),), in_window | later),
        )

    def _before(self, since: int) -> dict[str, int]:
        return range_parameters("before", max(self.latest - self._slack, since), self.latest)

    def _later(self) -> dict[str, int]:
        return {"later_b0": bucket_of(self.latest) + 1, "later_b1": bucket_of(self.last)}

    def after(self, since: int) -> Reading:
        """SQL for traces that have a span in the window since then, and one asked for after it."""
        before = Driver("spans").select("fold", "before")
        statements = [
            f"SELECT fold, max(at) AS last FROM ({rows}) GROUP BY fold"
            for driver in (self._driver, *self._others)
            for rows in driver.selects(
                f"fold, {driver.time} AS at", "at", f"fold GLOBAL IN ({before})"
            )
        ]
        parameters = self._parameters(self.latest + 1, self.last) | self._before(since)
        return Reading(tuple(statements), parameters)

    def _selects(self) -> list[str]:
        if self.anything:
            return [self._begun()]
        narrowed = [f"fold GLOBAL IN ({other.select('fold', 'near')})" for other in self._others]
        columns = f"fold, {self._driver.time} AS at"
        return [
            f"SELECT fold, max(at) AS last FROM ({rows}) GROUP BY fold"
            for rows in self._driver.selects(columns, "at", *narrowed)
        ]

    def _begun(self) -> str:
        """SELECT of traces by when they began, as far as their spans are in the range.

        Where the span that dates a trace is in it, that is its time exactly; with thousands of
        traces a second all that ended after the last of an answer began had to be read otherwise.
        """
        root = "substring(ids, 1, 8) = repeat(char(0), 8)"
        columns = f"fold, if(countIf({root}) > 0, minIf(ts, {root}), min(ts)) AS begun"
        rows = f"{self._driver.select(columns, 'at', 'ts != 0')} GROUP BY fold, low, high"
        return f"SELECT fold, max(begun) AS last FROM ({rows}) GROUP BY fold"

    def _parameters(self, since: int, until: int) -> dict[str, Any]:
        parameters: dict[str, Any] = {"tenant": self._tenant}
        for driver in (self._driver, *self._others):
            parameters |= driver.parameters
        parameters |= range_parameters("at", since, until)
        if self._others:
            near = min(until + self._slack, self._near_last)
            parameters |= range_parameters("near", max(since - self._slack, 0), near)
        return parameters


def _folds(rows: str, most: int = 0) -> str:
    limit = f" LIMIT {most}" if most else ""
    return f"SELECT DISTINCT fold, 0 AS last FROM ({rows}){limit}"
