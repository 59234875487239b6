"""``/api/v1/query_exemplars``: the exemplars of the series a query selects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from ...store.port import Limits
from . import tree
from .answers import success
from .errors import BadData
from .matchers import Matcher
from .parameters import MAX_MS, MIN_MS, time_parameter
from .parse_error import ParseError
from .parser import parse
from .render import dumps, format_time, format_value
from .sample_columns import SeriesPlaces, column
from .service import PrometheusService
from .source import Labels
from .storage import Window, clipped

#: Exemplars one answer may hold.
_MOST = 100_000


def exemplar_routes(service: PrometheusService) -> list[BaseRoute]:
    """The route for this service."""

    async def exemplars(request: Request) -> Response:
        form = await service.form(request)
        start = time_parameter(form, "start", MIN_MS)
        end = time_parameter(form, "end", MAX_MS)
        if end < start:
            raise BadData("end timestamp must not be before start timestamp")
        try:
            expression = parse(form.get("query"), service.options.features)
        except ParseError as error:
            raise BadData(str(error)) from error
        selectors = [selector.matchers for selector in tree.selectors(expression)]
        tenant = service.server.tenant(request)
        body = await service.run(request, _exemplars, service, tenant, selectors, start, end)
        return success(request, body)

    handler = service.endpoint(exemplars)
    return [Route("/api/v1/query_exemplars", handler, methods=["GET", "POST"])]


def _exemplars(
    service: PrometheusService,
    tenant: str,
    selectors: Sequence[Sequence[Matcher]],
    start: int,
    end: int,
) -> bytes:
    found: dict[Labels, dict[tuple[int, float], bytes]] = {}
    for matchers in selectors:
        window = clipped(service.catalog, tenant, matchers, start, end)
        if window is not None:
            _read(service, window, found)
    series = [
        b'{"seriesLabels":' + dumps(dict(labels)) + b',"exemplars":[' + b",".join(some) + b"]}"
        for labels, some in sorted(
            (labels, [by_time[key] for key in sorted(by_time)]) for labels, by_time in found.items()
        )
    ]
    return b"[" + b",".join(series) + b"]"


def _read(
    service: PrometheusService,
    window: Window,
    found: dict[Labels, dict[tuple[int, float], bytes]],
) -> None:
    places = SeriesPlaces(window.found)
    sql = f"SELECT id, ts, v, labels FROM exemplars FINAL {window.clause} LIMIT {_MOST}"
    config = service.server.config
    limits = Limits(service.options.timeout_s, config.query_memory, config.query_threads)
    table = service.store.fetch(sql, window.parameters, limits)
    numbers = places.of(column(table, "id")).tolist()
    times = column(table, "ts").tolist()
    values = table.column("v").to_pylist()
    labels = table.column("labels").to_pylist()
    for number, time, value, own in zip(numbers, times, values, labels, strict=True):
        if number >= 0:
            by_time = found.setdefault(places.labels[number], {})
            by_time[time, value] = _exemplar(own, value, time)


def _exemplar(labels: Sequence[tuple[str, str]] | Any, value: float, time: int) -> bytes:
    text = f',"value":"{format_value(value)}","timestamp":{format_time(time)}}}'
    return b'{"labels":' + dumps(dict(labels)) + text.encode()
