"""``/api/v1/query``, ``query_range``, ``format_query`` and ``parse_query``."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain

import numpy as np
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from . import render
from .answers import success
from .api_labels import TRUNCATED
from .asking import stage
from .context import CancelToken
from .errors import BadData
from .parameters import (
    Form,
    duration_parameter,
    invalid,
    limit_parameter,
    now_ms,
    parse_duration,
    required_time,
    time_parameter,
)
from .parse_error import ParseError
from .parser import parse
from .printer import format_query
from .quoting import quote
from .result import Result
from .service import PrometheusService
from .timings import Timings
from .tree_json import to_json

_MAX_POINTS = 11_000


def query_routes(service: PrometheusService) -> list[BaseRoute]:
    """The routes for this service."""
    api = _QueryApi(service)
    both = ["GET", "POST"]
    return [
        Route("/api/v1/query", service.endpoint(api.instant), methods=both),
        Route("/api/v1/query_range", service.endpoint(api.range), methods=both),
        Route("/api/v1/format_query", service.endpoint(api.format), methods=both),
        Route("/api/v1/parse_query", service.endpoint(api.parse), methods=both),
    ]


class _QueryApi:
    def __init__(self, service: PrometheusService) -> None:
        self._service = service

    async def instant(self, request: Request) -> Response:
        form = await self._service.form(request)
        limit = limit_parameter(form)
        time = time_parameter(form, "time", now_ms())
        timeout, lookback = _timeout(form), _lookback(form)
        query, token = form.get("query"), CancelToken()
        source = self._service.source(self._service.server.tenant(request))
        engine = self._service.engine

        def evaluate() -> Result:
            return engine.instant(
                query, time, source, cancel=token, lookback_ms=lookback, timeout_s=timeout
            )

        return await self._answer(request, form, evaluate, token, limit)

    async def range(self, request: Request) -> Response:
        form = await self._service.form(request)
        limit = limit_parameter(form)
        start, end = required_time(form, "start"), required_time(form, "end")
        if end < start:
            raise invalid("end", "end timestamp must not be before start time")
        step = duration_parameter(form, "step")
        _check_step(form, start, end, step)
        timeout, lookback = _timeout(form), _lookback(form)
        query, token = form.get("query"), CancelToken()
        source = self._service.source(self._service.server.tenant(request))
        engine = self._service.engine

        def evaluate() -> Result:
            return engine.range(
                query,
                start,
                end,
                step,
                source,
                cancel=token,
                lookback_ms=lookback,
                timeout_s=timeout,
            )

        return await self._answer(request, form, evaluate, token, limit)

    async def _answer(
        self,
        request: Request,
        form: Form,
        evaluate: Callable[[], Result],
        token: CancelToken,
        limit: int,
    ) -> Response:
        timings = Timings()

        def work() -> Response:
            timings.begin("evalTotalTime")
            try:
                with stage("evaluate") as told:
                    answer = evaluate()
                    told.rows = answer.samples_total
            except BadData as error:
                raise invalid("query", error) from error
            timings.end("evalTotalTime")
            cut = _truncate(answer, limit)
            data: list[bytes] = [b'{"resultType":"' + answer.kind.encode() + b'","result":']
            pieces = chain(data, render.result(answer))
            if form.get("stats"):
                pieces = chain(pieces, [b',"stats":' + render.dumps(timings.stats(answer))])
            warnings = [*answer.warnings, *([TRUNCATED] if cut else []), *_stats_warning(form)]
            with stage("render") as told:
                told.rows = len(answer.labels)
                return success(request, chain(pieces, [b"}"]), warnings, answer.infos)

        timings.begin("execQueueTime")
        return await self._service.run(request, work, token=token)

    async def format(self, request: Request) -> Response:
        query = (await self._service.form(request)).get("query")
        try:
            text = format_query(query, self._service.options.features)
        except ParseError as error:
            raise invalid("query", error) from error
        return success(request, render.dumps(text))

    async def parse(self, request: Request) -> Response:
        query = (await self._service.form(request)).get("query")
        try:
            tree = parse(query, self._service.options.features)
        except ParseError as error:
            raise invalid("query", error) from error
        return success(request, render.dumps(to_json(tree)))


def _check_step(form: Form, start: int, end: int, step: int) -> None:
    if step <= 0:
        raise invalid(
            "step",
            "zero or negative query resolution step widths are not accepted. "
            "Try a positive integer",
        )
    if (end - start) / step > _MAX_POINTS:
        raise BadData(
            "exceeded maximum resolution of 11,000 points per timeseries. "
            "Try decreasing the query resolution (?step=XX)"
        )


def _timeout(form: Form) -> float | None:
    if not form.get("timeout"):
        return None
    return duration_parameter(form, "timeout") / 1000


def _lookback(form: Form) -> int | None:
    text = form.get("lookback_delta")
    if not text:
        return None
    try:
        return parse_duration(text)
    except ValueError as error:
        raise BadData(f"error parsing lookback delta duration: {error}") from None


def _stats_warning(form: Form) -> list[str]:
    """What Prometheus says of values of ``stats`` that it will not take for long."""
    value = form.get("stats")
    if value in ("", "true", "all"):
        return []
    return [
        f'value {quote(value)} for parameter "stats" is deprecated and will be rejected in the '
        'next major release, use "true" or "all"'
    ]


def _truncate(answer: Result, limit: int) -> bool:
    """Keep ``limit`` series of a vector or matrix (0: all); whether that cut any."""
    if not limit or len(answer.labels) <= limit:
        return False
    answer.labels = answer.labels[:limit]
    answer.offsets = np.ascontiguousarray(answer.offsets[: limit + 1])
    last = int(answer.offsets[-1])
    answer.timestamps, answer.values = answer.timestamps[:last], answer.values[:last]
    if answer.histograms is not None:
        answer.histograms = answer.histograms[:last]
    if answer.step_of is not None:
        answer.step_of = answer.step_of[:last]
    return True
