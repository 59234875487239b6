"""``/api/v1/status/*``, the lists that are empty without scraping and rules, ``/version``."""

from __future__ import annotations

import os
import platform
import threading
import time
from collections import Counter
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from ...scrape import Scraper
from ...scrape.target import Target
from .answers import success
from .context import EngineOptions
from .errors import BadData
from .parameters import Form, invalid, parse_int, selectors_parameter
from .quoting import quote
from .render import dumps
from .service import Handler, PrometheusService
from .signatures import FUNCTIONS, SOFALOOKOUT
from .tree import AggregateOp, BinaryOp

#: The Prometheus whose API and language this is; Grafana chooses its requests by it.
PROMETHEUS_VERSION = "3.14.0"

_CARDINALITY = """
SELECT 'metrics' AS what, labels['__name__'] AS name, uniqExact(id) AS value FROM series
WHERE tenant = {tenant:String} GROUP BY name
UNION ALL
SELECT 'labels', label, uniqExact(labels[label]) FROM series ARRAY JOIN mapKeys(labels) AS label
WHERE tenant = {tenant:String} GROUP BY label
UNION ALL
SELECT 'pairs', concat(label, '=', labels[label]) AS pair, uniqExact(id)
FROM series ARRAY JOIN mapKeys(labels) AS label
WHERE tenant = {tenant:String} GROUP BY pair
"""


def status_routes(service: PrometheusService) -> list[BaseRoute]:
    """The routes for this service."""
    api = _StatusApi(service)
    handlers: dict[str, Handler] = {
        "/api/v1/status/buildinfo": api.build,
        "/api/v1/status/config": api.config,
        "/api/v1/status/flags": api.flags,
        "/api/v1/status/runtimeinfo": api.runtime,
        "/api/v1/status/tsdb": api.tsdb,
        "/api/v1/status/tsdb/blocks": api.blocks,
        "/api/v1/status/walreplay": api.replay,
        "/api/v1/targets": api.targets,
        "/api/v1/targets/metadata": api.targets_metadata,
        "/api/v1/scrape_pools": api.scrape_pools,
        "/api/v1/alerts": api.alerts,
        "/api/v1/alertmanagers": api.alertmanagers,
        "/api/v1/rules": api.rules,
        "/api/v1/notifications": api.empty_list,
        "/api/v1/features": api.features,
    }
    routes: list[BaseRoute] = [
        Route(path, service.endpoint(handler)) for path, handler in handlers.items()
    ]
    routes.append(Route("/version", api.version))
    routes += [
        Route(path, api.lifecycle, methods=["POST", "PUT"]) for path in ("/-/reload", "/-/quit")
    ]
    return routes


def build_information() -> dict[str, str]:
    """As in ``status/buildinfo``. Without ``features``: with it, Grafana takes us for Mimir."""
    return {
        "version": PROMETHEUS_VERSION,
        "revision": f"lookout-{version('lookout-telemetry')}",
        "branch": "HEAD",
        "buildUser": "lookout",
        "buildDate": "",
        "goVersion": f"python{platform.python_version()}",
    }


class _StatusApi:
    def __init__(self, service: PrometheusService) -> None:
        self._service = service
        self._started = datetime.now(UTC)

    async def build(self, request: Request) -> Response:
        return success(request, dumps(build_information()))

    async def version(self, request: Request) -> Response:
        return Response(dumps(build_information()), media_type="application/json")

    async def config(self, request: Request) -> Response:
        lines = [f"{name}: {value}" for name, value in self._settings().items()]
        return success(request, dumps({"yaml": "\n".join(lines) + "\n"}))

    async def flags(self, request: Request) -> Response:
        return success(request, dumps(self._settings()))

    def _settings(self) -> dict[str, str]:
        """The configuration as text; secrets print as asterisks."""
        return {name: str(value) for name, value in self._service.server.config}

    async def runtime(self, request: Request) -> Response:
        config = self._service.server.config
        started = self._started.isoformat().replace("+00:00", "Z")
        information = {
            "startTime": started,
            "CWD": os.getcwd(),
            "hostname": platform.node(),
            "serverTime": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
            "reloadConfigSuccess": True,
            "lastConfigTime": started,
            "corruptionCount": 0,
            "goroutineCount": threading.active_count(),
            "GOMAXPROCS": os.cpu_count() or 1,
            "GOMEMLIMIT": config.database_memory,
            "GOGC": "",
            "GODEBUG": "",
            "storageRetention": f"{config.retention_of('metrics'):g}s",
        }
        return success(request, dumps(information))

    async def tsdb(self, request: Request) -> Response:
        limit = self._limit(request)
        service = self._service
        tenant = service.server.tenant(request)
        table = await service.run(request, service.store.fetch, _CARDINALITY, {"tenant": tenant})
        rows = table.to_pylist()
        top = {what: _top(rows, what, limit) for what in ("metrics", "labels", "pairs")}
        series = sum(row["value"] for row in rows if row["what"] == "metrics")
        names = sum(1 for row in rows if row["what"] == "labels")
        pairs = sum(1 for row in rows if row["what"] == "pairs")
        now = time.time_ns() // 1_000_000
        statistics = {
            "headStats": {
                "numSeries": series,
                "numLabelPairs": pairs,
                "chunkCount": 0,
                "minTime": 0,
                "maxTime": now,
            },
            "seriesCountByMetricName": top["metrics"],
            "labelValueCountByLabelName": top["labels"],
            "memoryInBytesByLabelName": [],
            "seriesCountByLabelValuePair": top["pairs"],
            "numLabelNames": names,
        }
        return success(request, dumps(statistics))

    def _limit(self, request: Request) -> int:
        text = request.query_params.get("limit", "")
        if not text:
            return 10
        try:
            limit = parse_int(text)
        except ValueError:
            limit = 0
        if limit < 1:
            raise BadData("limit must be a positive number")
        return min(limit, 10_000)

    async def replay(self, request: Request) -> Response:
        return success(request, dumps({"min": 0, "max": 0, "current": 0, "state": "done"}))

    async def blocks(self, request: Request) -> Response:
        """ClickHouse has parts instead, which are not for a Prometheus to read."""
        return success(request, dumps({"blocks": []}))

    async def lifecycle(self, request: Request) -> Response:
        """Neither reloaded nor ended over HTTP: a signal does that."""
        return PlainTextResponse("Lifecycle API is not enabled.", 403)

    async def features(self, request: Request) -> Response:
        config, options = self._service.server.config, self._service.options
        api = {
            "admin": config.admin_api,
            "lifecycle": False,
            "otlp_write_receiver": True,
            "query_stats": True,
            "query_warnings": True,
            "remote_write_receiver": True,
        }
        found = {"api": api, **features_of_language(options)}
        return success(request, dumps(found))

    async def empty_list(self, request: Request) -> Response:
        return success(request, b"[]")

    async def targets_metadata(self, request: Request) -> Response:
        """Metadata is kept by metric, not by target."""
        form = Form.of(request)
        if form.get("limit"):
            try:
                parse_int(form.get("limit"))
            except ValueError:
                raise BadData("limit must be a number") from None
        try:
            selectors_parameter(form, "match_target")
        except BadData as error:
            raise invalid("match_target", error) from None
        return success(request, b"[]")

    async def targets(self, request: Request) -> Response:
        state = request.query_params.get("state", "").lower()
        scraper = Scraper.running.get(self._service.server)
        active = [_active(target) for target in scraper.targets] if scraper else []
        dropped = [{"discoveredLabels": labels} for labels in scraper.dropped] if scraper else []
        counts = Counter(entry["discoveredLabels"]["job"] for entry in dropped)
        body = {
            "activeTargets": [] if state == "dropped" else active,
            "droppedTargets": [] if state == "active" else dropped,
            "droppedTargetCounts": dict(counts),
        }
        return success(request, dumps(body))

    async def scrape_pools(self, request: Request) -> Response:
        scraper = Scraper.running.get(self._service.server)
        pools = sorted({target.job.name for target in scraper.targets}) if scraper else []
        return success(request, dumps({"scrapePools": pools}))

    async def alerts(self, request: Request) -> Response:
        return success(request, dumps({"alerts": []}))

    async def alertmanagers(self, request: Request) -> Response:
        return success(request, dumps({"activeAlertmanagers": [], "droppedAlertmanagers": []}))

    async def rules(self, request: Request) -> Response:
        kind = request.query_params.get("type", "").lower()
        if kind not in ("", "alert", "record"):
            raise BadData(f'invalid parameter "type": not supported value {quote(kind)}')
        return success(request, dumps({"groups": []}))


def features_of_language(options: EngineOptions) -> dict[str, dict[str, bool]]:
    """What of PromQL may be used, in the categories of Prometheus' ``/api/v1/features``."""
    features = options.features
    fill = features.fill_modifiers
    return {
        "promql": {
            **dict.fromkeys(("at_modifier", "bool", "by", "group_left", "group_right"), True),
            **dict.fromkeys(("ignoring", "negative_offset", "offset", "on", "subqueries"), True),
            **dict.fromkeys(("per_query_lookback_delta", "without"), True),
            **dict.fromkeys(("fill", "fill_left", "fill_right"), fill),
            **dict.fromkeys(("anchored", "smoothed"), features.extended_range_selectors),
            "delayed_name_removal": options.delayed_name_removal,
            "duration_expr": True,
            "type_and_unit_labels": options.type_and_unit_labels,
            "use_start_timestamps": options.start_timestamps,
        },
        "promql_functions": {
            name: features.experimental_functions or not function.experimental
            for name, function in sorted(FUNCTIONS.items())
        },
        "sofalookout_functions": dict.fromkeys(SOFALOOKOUT, True),
        "promql_operators": {
            **{op.value: True for op in BinaryOp},
            **{
                op.value: features.experimental_functions or not op.is_experimental
                for op in AggregateOp
            },
        },
    }


def _active(target: Target) -> dict[str, Any]:
    job = target.job
    seen = datetime.fromtimestamp(target.last_scrape_ms / 1000, UTC).isoformat()
    return {
        "discoveredLabels": target.discovered,
        "labels": target.labels,
        "scrapePool": job.name,
        "scrapeUrl": target.url,
        "globalUrl": target.url,
        "lastError": target.last_error,
        "lastScrape": seen.replace("+00:00", "Z"),
        "lastScrapeDuration": target.last_seconds,
        "health": target.health,
        "scrapeInterval": f"{job.interval:g}s",
        "scrapeTimeout": f"{job.timeout:g}s",
    }


def _top(rows: list[dict[str, Any]], what: str, limit: int) -> list[dict[str, Any]]:
    chosen = [row for row in rows if row["what"] == what]
    chosen.sort(key=lambda row: (-row["value"], row["name"]))
    return [{"name": row["name"], "value": row["value"]} for row in chosen[:limit]]
