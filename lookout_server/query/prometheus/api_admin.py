"""``/api/v1/admin/tsdb/*``: deleting series, for those who switched it on."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from ...metrics.known import DAY_MS
from .answers import Unavailable
from .errors import BadData
from .matchers import Matcher
from .parameters import MAX_MS, MIN_MS, matchers_parameter, time_parameter
from .service import PrometheusService
from .storage import Window, clipped

_TABLES = ("samples", "histograms", "exemplars")
_IDS_A_STATEMENT = 10_000


def admin_routes(service: PrometheusService) -> list[BaseRoute]:
    """The routes for this service; with the flag off they say so."""
    api = _AdminApi(service)
    handlers = {
        "delete_series": api.delete_series,
        "clean_tombstones": api.clean_tombstones,
        "snapshot": api.snapshot,
    }
    return [
        Route(f"/api/v1/admin/tsdb/{name}", service.endpoint(handler), methods=["POST", "PUT"])
        for name, handler in handlers.items()
    ]


class _AdminApi:
    def __init__(self, service: PrometheusService) -> None:
        self._service = service

    async def delete_series(self, request: Request) -> Response:
        self._check()
        form = await self._service.form(request)
        if not form.all("match[]"):
            raise BadData("no match[] parameter provided")
        start = time_parameter(form, "start", MIN_MS)
        end = time_parameter(form, "end", MAX_MS)
        sets = matchers_parameter(form)
        tenant = self._service.server.tenant(request)
        await self._service.run(request, self._delete, tenant, sets, start, end)
        return Response(status_code=204)

    async def clean_tombstones(self, request: Request) -> Response:
        """Nothing to do: ClickHouse rewrites the parts when it deletes."""
        self._check()
        return Response(status_code=204)

    async def snapshot(self, request: Request) -> Response:
        self._check()
        raise Unavailable("snapshots are made with ClickHouse's BACKUP, not here")

    def _check(self) -> None:
        if not self._service.server.config.admin_api:
            raise Unavailable("admin APIs disabled")

    def _delete(self, tenant: str, sets: Sequence[Sequence[Matcher]], start: int, end: int) -> None:
        service = self._service
        try:
            for matchers in sets:
                window = clipped(service.catalog, tenant, matchers, start, end)
                if window is not None:
                    for statement in deletions(window, service.server.config.clickhouse_cluster):
                        service.store.execute(statement)
        finally:  # a part may be deleted although the whole failed
            service.forget(tenant)


def deletions(window: Window, cluster: str | None) -> list[str]:
    """The mutations that delete what a window covers.

    Series rows go for the days that are covered as a whole.
    """
    suffix = f"_local ON CLUSTER '{cluster}'" if cluster else ""
    statements = []
    for one in window.found:
        ids = one.ids.tolist()
        for at in range(0, len(ids), _IDS_A_STATEMENT):
            some = ", ".join(map(str, ids[at : at + _IDS_A_STATEMENT]))
            where = f"tenant = {_text(window.tenant)} AND mid = {one.metric.mid} AND id IN ({some})"
            times = (
                f"ts >= fromUnixTimestamp64Milli({window.start_ms}, 'UTC') "
                f"AND ts <= fromUnixTimestamp64Milli({window.end_ms}, 'UTC')"
            )
            statements += [
                f"ALTER TABLE {table}{suffix} DELETE WHERE {where} AND {times} {_SYNC}"
                for table in _TABLES
            ]
            first, last = -(-window.start_ms // DAY_MS), (window.end_ms + 1) // DAY_MS
            days = f"toRelativeDayNum(seen) >= {first} AND toRelativeDayNum(seen) < {last}"
            statements.append(f"ALTER TABLE series{suffix} DELETE WHERE {where} AND {days} {_SYNC}")
    return statements


_SYNC = "SETTINGS mutations_sync = 1"


def _text(value: str) -> str:
    """A string literal. Tenants have no quotes or backslashes; a name that has is escaped."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
