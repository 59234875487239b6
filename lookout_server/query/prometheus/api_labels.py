"""``/api/v1/series``, ``labels``, ``label/<name>/values`` and ``metadata``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from ...metrics.index import Found
from .answers import success
from .asking import stage
from .errors import BadData
from .matchers import Matcher
from .parameters import (
    MAX_MS,
    MIN_MS,
    Form,
    invalid,
    limit_parameter,
    matchers_parameter,
    parse_int,
    time_parameter,
)
from .quoting import quote
from .render import dumps, labels_json
from .service import PrometheusService
from .source import METRIC_NAME, Labels

TRUNCATED = "results truncated due to limit"

_METADATA = """
SELECT metric, type, help, unit FROM metadata
WHERE tenant = {tenant:String} AND ({metric:String} = '' OR metric = {metric:String})
GROUP BY metric, type, help, unit ORDER BY metric, max(updated) DESC
"""


def label_routes(service: PrometheusService) -> list[BaseRoute]:
    """The routes for this service."""
    api = _LabelsApi(service)
    both = ["GET", "POST"]
    return [
        Route("/api/v1/series", service.endpoint(api.series), methods=both),
        Route("/api/v1/labels", service.endpoint(api.names), methods=both),
        Route("/api/v1/label/{name:path}/values", service.endpoint(api.values)),
        Route("/api/v1/metadata", service.endpoint(api.metadata)),
    ]


class _LabelsApi:
    def __init__(self, service: PrometheusService) -> None:
        self._service = service

    async def series(self, request: Request) -> Response:
        form = await self._service.form(request)
        if not form.all("match[]"):
            raise BadData("no match[] parameter provided")
        limit = limit_parameter(form)
        try:
            sets = matchers_parameter(form)
        except BadData as error:  # Prometheus names the parameter here only
            raise invalid("match[]", error) from None
        found = await self._found(request, form, sets)
        labels = sorted({labels for one in found for labels in one.labels()})
        cut, warnings = truncated(labels, limit)
        body = b"[" + b",".join(map(labels_json, cut)) + b"]"
        return success(request, body, warnings)

    async def names(self, request: Request) -> Response:
        form = await self._service.form(request)
        limit = limit_parameter(form)
        found = await self._found(request, form, matchers_parameter(form) or [[]])
        names, warnings = truncated(sorted(label_names(found)), limit)
        return success(request, dumps(names), warnings)

    async def values(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name.startswith("U__"):
            name = unescaped(name)
        if not name:
            raise BadData(f"invalid label name: {quote(name)}")
        form = await self._service.form(request)
        limit = limit_parameter(form)
        found = await self._found(request, form, matchers_parameter(form) or [[]])
        values, warnings = truncated(label_values(found, name), limit)
        return success(request, dumps(values), warnings)

    async def metadata(self, request: Request) -> Response:
        form = await self._service.form(request)
        limit = _number(form, "limit")
        per_metric = _number(form, "limit_per_metric")
        service = self._service
        parameters = {"tenant": service.server.tenant(request), "metric": form.get("metric")}
        rows = (await service.run(request, service.store.fetch, _METADATA, parameters)).to_pylist()
        families: dict[str, list[dict[str, str]]] = {}
        for row in rows:
            metric = row.pop("metric")
            if metric not in families and 0 <= limit <= len(families):
                break
            words = families.setdefault(metric, [])
            if per_metric <= 0 or len(words) < per_metric:
                words.append(row)
        return success(request, dumps(families))

    async def _found(
        self, request: Request, form: Form, sets: Sequence[Sequence[Matcher]]
    ) -> list[Found]:
        start = time_parameter(form, "start", MIN_MS)
        end = time_parameter(form, "end", MAX_MS)
        tenant = self._service.server.tenant(request)
        return await self._service.run(request, self._select, tenant, sets, start, end)

    def _select(
        self, tenant: str, sets: Sequence[Sequence[Matcher]], start: int, end: int
    ) -> list[Found]:
        catalog = self._service.catalog
        with stage("series index") as told:
            found = [one for some in sets for one in catalog.select(tenant, some, start, end)]
            told.rows = sum(len(one.places) for one in found)
        return found


def label_names(found: Iterable[Found]) -> set[str]:
    """Names of all labels of the series found."""
    names: set[str] = set()
    for one in found:
        if one.all:
            names |= one.metric.label_names
        else:
            names.update(name for labels in one.labels() for name, _ in labels)
    return names


def label_values(found: Iterable[Found], name: str) -> list[str]:
    """Values of one label over the series found, in order."""
    if name == METRIC_NAME:
        return sorted({one.metric.name for one in found})
    parts = [one.values(name) for one in found if name in one.metric.label_names]
    if len(parts) == 1:
        return parts[0]  # many labels are of one metric, and its values are kept in order
    return sorted(set().union(*parts))


def truncated(items: list[str] | list[Labels], limit: int) -> tuple[list, list[str]]:  # type: ignore[type-arg]
    """At most ``limit`` items (0: all), and the warning that belongs to fewer than all."""
    if limit and len(items) > limit:
        return list(items[:limit]), [TRUNCATED]
    return list(items), []


def unescaped(name: str) -> str:
    """The UTF-8 label name of its ``U__`` escaping; what is not properly escaped stays."""
    pieces = re.split(r"(__|_[0-9a-fA-F]{1,6}_)", name.removeprefix("U__"))
    return "".join(_unescaped(piece) for piece in pieces)


def _unescaped(piece: str) -> str:
    if piece == "__":
        return "_"
    if re.fullmatch(r"_[0-9a-fA-F]{1,6}_", piece) and int(piece[1:-1], 16) < 0x110000:
        return chr(int(piece[1:-1], 16))
    return piece


def _number(form: Form, name: str) -> int:
    text = form.get(name)
    if not text:
        return -1
    try:
        return parse_int(text)
    except ValueError:
        raise BadData(f"{name} must be a number") from None
