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
from .request import QueryRequest

_LIMIT_FACTOR = 4
_LIMIT_LEAST = 50
_LONG_MAX = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Driver:
    """One condition as SQL over ``span_search`` or ``spans``."""

    table: str
    conditions: tuple[str, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def time(self) -> str:
        """SQL of a span's time in microseconds, as exact as the table has it."""
        if self.table == "span_search":
            return "toInt64(second) * 1000000"
        # A span without timestamp counts as late as it can be, lest a search stop before it.
        return f"if(ts = 0, (toInt64(bucket) + 1) * {BUCKET_US} - 1, ts)"

    def where(self, prefix: str) -> str:
        """Conditions and time range; the range's parameters are named with the prefix."""
        if self.table == "span_search":
            times = f"second BETWEEN {{{prefix}_s0:UInt32}} AND {{{prefix}_s1:UInt32}}"
        else:
            times = (
                f"bucket BETWEEN {{{prefix}_b0:UInt32}} AND {{{prefix}_b1:UInt32}} "
                f"AND {self.time} BETWEEN {{{prefix}_t0:Int64}} AND {{{prefix}_t1:Int64}}"
            )
        return " AND ".join(("tenant = {tenant:String}", times, *self.conditions))


def range_parameters(prefix: str, since: int, until: int) -> dict[str, int]:
    """Parameters of a time range (microseconds, both ends in it) for :meth:`Driver.where`."""
    return {
        f"{prefix}_s0": second_of(since),
        f"{prefix}_s1": second_of(until),
        f"{prefix}_b0": bucket_of(since),
        f"{prefix}_b1": bucket_of(until),
        f"{prefix}_t0": min(since, _LONG_MAX),
        f"{prefix}_t1": min(until, _LONG_MAX),
    }


def plan_drivers(request: QueryRequest) -> list[Driver] | None:
    """The conditions of a request, the one to drive by first. None: nothing can match."""
    if "" in request.annotations:
        return None  # no key is empty
    drivers = [
        _tag_driver(request, number, key, value)
        for number, (key, value) in enumerate(
            sorted(request.annotations.items(), key=lambda term: not term[1])
        )
    ]
    drivers += _search_drivers(request)
    if not drivers:
        table = "span_search" if request.service else "spans"
        drivers.append(Driver(table, *_service(request)))
    return drivers


def _service(request: QueryRequest) -> tuple[tuple[str, ...], dict[str, Any]]:
    if not request.service:
        return (), {}
    return ("service = {service:String}",), {"service": request.service}


def _tag_driver(request: QueryRequest, number: int, key: str, value: str) -> Driver:
    conditions, parameters = _service(request)
    name = f"tag{number}"
    if value:
        token = f"{{{name}:String}}"
        condition = f"(has(tags_low, {token}) OR has(tags_high, {token}))"
        parameters[name] = tag_token(key, value)
    else:
        plain = f"{{{name}:String}}"
        keys = f"has(splitByChar('{SHAPE_SEPARATOR}', shape), {plain})"
        tagged = f"bitAnd(flags, {ERROR}) != 0" if key == "error" else keys
        condition = f"({tagged} OR has(annotations, {plain}))"
        parameters[name] = key
    return Driver("spans", (*conditions, condition), parameters)


def _search_drivers(request: QueryRequest) -> list[Driver]:
    """Conditions that the search table answers, the most selective first."""
    conditions, parameters = _service(request)
    drivers: list[Driver] = []
    if request.span_name:
        drivers.append(
            Driver(
                "span_search",
                (*conditions, "name = {name:String}"),
                {**parameters, "name": request.span_name},
            )
        )
    if request.remote_service:
        drivers.append(
            Driver(
                "span_search",
                (*conditions, "remote_service = {remote:String}"),
                {**parameters, "remote": request.remote_service},
            )
        )
    if request.min_duration is not None:
        longest = _LONG_MAX if request.max_duration is None else request.max_duration
        least, most = duration_steps(np.array([request.min_duration, longest], np.int64)).tolist()
        drivers.append(
            Driver(
                "span_search",
                (*conditions, "duration_step BETWEEN {step0:UInt8} AND {step1:UInt8}"),
                {**parameters, "step0": least, "step1": most},
            )
        )
    return drivers


class Candidates:
    """The SQL of one search's steps. Times in microseconds."""

    def __init__(
        self, tenant: str, drivers: Sequence[Driver], request: QueryRequest, slack_us: int
    ) -> None:
        self._tenant = tenant
        self._driver, *self._others = drivers
        self._slack = slack_us
        self.latest = request.end_us + 1  # first moment after the window
        # Without conditions it is the span that dates the trace that is looked for.
        self._anything = not self._driver.conditions
        self.earliest = max(request.begin_us - (0 if self._anything else slack_us), 0)
        self._most = 0

    def step(self, since: int, until: int, limit: int) -> tuple[str, dict[str, Any], int]:
        """SQL for the traces whose last span of the driving condition is in [since, until).

        Columns ``fold`` and ``last``; at most the number given third, newest first.
        """
        most = max(limit * _LIMIT_FACTOR, _LIMIT_LEAST, self._most)
        self._most = most
        sql = f"{self._select(since, until - 1)} ORDER BY last DESC LIMIT {most}"
        return sql, self._parameters(since, until - 1), most

    def allow_more(self) -> None:
        """Have the following steps give four times as many."""
        self._most *= 4

    def after_window(self, now_us: int) -> tuple[str, dict[str, Any]] | None:
        """SQL for traces that match by a span after the window, and have one at its end.

        None where nothing can lie after the window.
        """
        end = self.latest - 1
        if self._anything or end >= now_us + self._slack:
            return None
        parameters = self._parameters(end, end + self._slack)
        parameters |= range_parameters("before", max(end - self._slack, 0), end)
        before = f"SELECT fold FROM spans WHERE {Driver('spans').where('before')}"
        return self._select(end, end + self._slack, f"fold GLOBAL IN ({before})"), parameters

    def _select(self, since: int, until: int, *further: str) -> str:
        driver = self._driver
        narrowed = [
            f"fold GLOBAL IN (SELECT fold FROM {other.table} WHERE {other.where('near')})"
            for other in self._others
        ]
        where = " AND ".join((driver.where("at"), *narrowed, *further))
        return (
            f"SELECT fold, max({driver.time}) AS last FROM {driver.table} "
            f"WHERE {where} GROUP BY fold"
        )

    def _parameters(self, since: int, until: int) -> dict[str, Any]:
        parameters: dict[str, Any] = {"tenant": self._tenant}
        for driver in (self._driver, *self._others):
            parameters |= driver.parameters
        parameters |= range_parameters("at", since, until)
        if self._others:
            parameters |= range_parameters("near", max(since - self._slack, 0), until + self._slack)
        return parameters
