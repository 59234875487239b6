"""``/health`` and ``/info`` as Zipkin has them, for probes and pages made for it."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from ...server import Server
from ...store.port import StoreError

_JSON = "application/json; charset=utf-8"
_ACTUATOR = "application/vnd.spring-boot.actuator.v2+json; charset=utf-8"
_STORE = "ClickHouse"


def status_routes(server: Server) -> list[BaseRoute]:
    """The routes; health asks the database, info is fixed."""

    async def health(request: Request) -> Response:
        detail: dict[str, Any] = {"status": "UP"}
        try:
            await server.fetch("SELECT 1")
        except StoreError as error:
            detail = {"status": "DOWN", "details": {"error": str(error)}}
        status = detail["status"]
        body = {"status": status, "zipkin": {"status": status, "details": {_STORE: detail}}}
        answer = orjson.dumps(body, option=orjson.OPT_INDENT_2).replace(b'": ', b'" : ')
        return Response(answer, 200 if status == "UP" else 503, media_type=_type(request))

    async def info(request: Request) -> Response:
        body = {"zipkin": {"version": version("lookout-telemetry"), "commit": "lookout"}}
        return Response(orjson.dumps(body), media_type=_type(request))

    return [
        Route(f"{mount}/{name}", handler, methods=["GET"])
        for mount in ("", "/actuator")
        for name, handler in (("health", health), ("info", info))
    ]


def _type(request: Request) -> str:
    return _ACTUATOR if request.url.path.startswith("/actuator") else _JSON
