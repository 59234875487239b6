"""The ways in that SOFALookout's gateway has, and Pushgateway's.

Refusals carry their text in the body and, where HTTP allows its letters, in the header ``Err``,
which SOFALookout's clients log. ``Wait-Minutes`` silences such a client for so long.
"""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias
from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from ..http import Refused, read_body
from ..intake import receipt
from ..metrics.rows import MetricRows
from ..server import Server
from ..signal import Malformed
from .push_groups import GroupLocks, Labels, ending, kept_by

Tags: TypeAlias = dict[str, str]

_ODD = (
    "子路径必须有偶数个节"  # the words clients know: the path must have an even number of segments
)
_BANNER = {
    "name": "lookout",
    "cluster_name": "lookout-gateway",
    "cluster_uuid": "lookout",
    "version": {"number": "5.3.2", "lucene_version": "6.4.2"},
    "tagline": "You Know, for Search",
}
_BULK_ANSWER = {"took": 10, "errors": False, "items": list[str]()}


class GatewayRefusal(Exception):
    """A request the gateway does not take; the text is what its clients see."""

    def __init__(self, text: str, status: int = 400, headers: Mapping[str, str] | None = None):
        super().__init__(text)
        self.status = status
        self.headers = dict(headers or {})

    def response(self) -> Response:
        """The answer."""
        text = str(self)
        if text.isascii():
            self.headers["Err"] = text.replace("\n", " ")
        return PlainTextResponse(text, self.status, self.headers)


def gateway_routes(server: Server) -> list[BaseRoute]:
    """The routes, for this server."""
    gateway = _Gateway(server)
    push = ["POST", "PUT"]
    return [
        Route("/datas", gateway.probe, methods=["GET"]),
        Route("/datas", gateway.answered(gateway.lines), methods=["POST"]),
        Route("/lookout/metrics", gateway.probe, methods=["GET"]),
        Route("/lookout/metrics", gateway.answered(gateway.free_lines), methods=push),
        Route("/lookout/metrics/{path:path}", gateway.probe, methods=["GET"]),
        Route("/lookout/metrics/{path:path}", gateway.answered(gateway.free_lines), methods=push),
        Route("/prom/metrics/{path:path}", gateway.answered(gateway.prometheus), methods=push),
        Route("/opentsdb/api/put", gateway.answered(gateway.opentsdb), methods=push),
        Route("/beat", gateway.banner, methods=["GET", "HEAD"]),
        Route("/beat/", gateway.banner, methods=["GET", "HEAD"]),
        Route("/beat/_template/{name}", gateway.template, methods=["GET", "HEAD", "PUT"]),
        Route("/beat/_bulk", gateway.answered(gateway.beat), methods=push),
        Route("/metrics/job{path:path}", gateway.answered(gateway.push_group), methods=push),
        Route("/metrics/job{path:path}", gateway.answered(gateway.end_group), methods=["DELETE"]),
        Route("/cmd/{command:str}", gateway.answered(gateway.command), methods=["GET", "POST"]),
    ]


class _Gateway:
    def __init__(self, server: Server) -> None:
        self._server = server
        self._refusing = False
        self._locks = GroupLocks()

    def answered(
        self, handler: Callable[[Request], Awaitable[Response]]
    ) -> Callable[[Request], Awaitable[Response]]:
        """``handler`` with every refusal as this protocol words it."""

        async def answer(request: Request) -> Response:
            try:
                return await handler(request)
            except GatewayRefusal as refusal:
                return refusal.response()
            except Malformed as error:
                return GatewayRefusal(str(error)).response()
            except Refused as refused:
                return GatewayRefusal(str(refused), refused.status, refused.headers()).response()

        return answer

    async def probe(self, request: Request) -> Response:
        """A client asks whether it may report here."""
        return PlainTextResponse("OK")

    async def lines(self, request: Request) -> Response:
        """What SOFALookout's client reports."""
        app = request.headers.get("app", "").strip()
        if not app:
            raise GatewayRefusal("APP_NAME_NULL", 403, {"Wait-Minutes": "5"})
        await self._take(request, "lookout_lines", {"app": app})
        return PlainTextResponse("")

    async def free_lines(self, request: Request) -> Response:
        """The same lines from whoever speaks them, with tags in the URL, ``step`` among them."""
        tags = path_tags(request.path_params.get("path", ""))
        step = _required_step(tags)
        await self._take(request, "lookout_lines", tags, step)
        return PlainTextResponse("")

    async def prometheus(self, request: Request) -> Response:
        """Prometheus text, with job, app, step and further tags in the URL."""
        tags = path_tags(request.path_params["path"])
        step = _required_step(tags)
        del tags["step"]
        await self._take(request, "prometheus_gateway", tags, step)
        return PlainTextResponse("", 202)

    async def opentsdb(self, request: Request) -> Response:
        """OpenTSDB's data points; app and step stand in headers."""
        given = {name: request.headers.get(name, "").strip() for name in ("app", "step")}
        step = _required_step({name: value for name, value in given.items() if value})
        tags = {"app": given["app"]}
        if request.headers.get("ip"):
            tags["ip"] = request.headers["ip"]
        await self._take(request, "opentsdb", tags, step)
        return PlainTextResponse("", 202)

    async def banner(self, request: Request) -> Response:
        """Metricbeat asks what Elasticsearch this is."""
        return JSONResponse(_BANNER)

    async def template(self, request: Request) -> Response:
        """Metricbeat's index template is of no use here, and that is fine."""
        return JSONResponse({"acknowledged": True})

    async def beat(self, request: Request) -> Response:
        """Metricbeat's bulk request."""
        await self._take(request, "metricbeat", {})
        return JSONResponse(_BULK_ANSWER)

    async def push_group(self, request: Request) -> Response:
        """A push to Pushgateway's ``/metrics/job/NAME{/LABEL/VALUE}``.

        PUT replaces the group, POST the metrics of the pushed names.
        """
        group = group_labels(f"job{request.path_params['path']}")
        body = await self._body(request)  # before the lock: a client may be slow
        async with self._locks.of(self._server.tenant(request), group):
            rows = await self._accept(request, body, "pushgateway", group)
            pushed = [dict(series.labels) for series in rows.series]
            is_kept = kept_by(pushed, whole_group=request.method == "PUT")
            await self._end(request, group, is_kept)
        return PlainTextResponse("")

    async def end_group(self, request: Request) -> Response:
        """Pushgateway's deletion of a group: its series end now."""
        group = group_labels(f"job{request.path_params['path']}")
        async with self._locks.of(self._server.tenant(request), group):
            await self._end(request, group, lambda labels: False)
        return PlainTextResponse("", 202)

    async def _end(self, request: Request, group: Tags, is_kept: Callable[[Labels], bool]) -> None:
        tenant, now_ms = self._server.tenant(request), time.time_ns() // 1_000_000
        body = await ending(self._server, tenant, group, now_ms, is_kept)
        if body is not None:
            await self._server.intake.accept("metrics", "remote_write", body, receipt(tenant, {}))

    async def command(self, request: Request) -> Response:
        """SOFALookout's switch: while down, this gateway takes nothing (admin API only)."""
        command = request.path_params["command"]
        if command not in ("up", "down"):
            raise GatewayRefusal(f"unknown command {command!r}, expected up or down", 404)
        if not self._server.config.admin_api:
            raise GatewayRefusal("admin APIs disabled", 403)
        self._refusing = command == "down"
        return PlainTextResponse("ok")

    async def _take(
        self, request: Request, fmt: str, tags: Tags, step: int | None = None
    ) -> MetricRows:
        return await self._accept(request, await self._body(request), fmt, tags, step)

    async def _body(self, request: Request) -> bytes:
        if self._refusing:
            raise GatewayRefusal("lookout gateway is in refuse requests mode")
        return await read_body(request, self._server)

    async def _accept(
        self, request: Request, body: bytes, fmt: str, tags: Tags, step: int | None = None
    ) -> MetricRows:
        hints: dict[str, Any] = {"tags": tags, "ip": client_address(request)}
        if step is not None:
            hints["step"] = step
        accepted = receipt(self._server.tenant(request), hints)
        rows = await self._server.intake.accept("metrics", fmt, body, accepted)
        assert isinstance(rows, MetricRows)
        limits = [problem for problem in rows.problems if problem.reason.startswith("series_limit")]
        if limits:
            raise GatewayRefusal(limits[0].text)
        return rows


def client_address(request: Request) -> str:
    """What the client says its address is, else where the connection comes from."""
    given = request.headers.get("client-ip") or request.headers.get("x-forwarded-for", "")
    if given:
        return given.partition(",")[0].strip()
    return request.client.host if request.client else ""


def path_tags(path: str) -> Tags:
    """Tags of ``k1/v1/k2/v2``. Raises GatewayRefusal for an odd number of segments."""
    segments = [unquote(segment) for segment in path.strip("/").split("/") if segment]
    if len(segments) % 2:
        raise GatewayRefusal(_ODD)
    return dict(zip(segments[::2], segments[1::2], strict=True))


def _required_step(tags: Mapping[str, str]) -> int:
    if not tags.get("app"):
        raise GatewayRefusal("app tag in url is required")
    if not tags.get("step"):
        raise GatewayRefusal("step tag in url is required")
    try:
        step = int(tags["step"])
    except ValueError:
        raise GatewayRefusal("step tag in url is invalid") from None
    if not -(2**63) <= step < 2**63:
        raise GatewayRefusal("step tag in url is invalid: expected seconds within 64 bits")
    return step


def group_labels(path: str) -> Tags:
    """Labels of ``job/NAME/LABEL/VALUE``; a name with ``@base64`` has an encoded value.

    Raises GatewayRefusal as Pushgateway refuses.
    """
    segments = path.strip("/").split("/")
    if len(segments) % 2:
        raise GatewayRefusal(f"odd number of components in label string {path!r}")
    labels: Tags = {}
    for name, value in zip(segments[::2], segments[1::2], strict=True):
        plain = name.removesuffix("@base64")
        if plain.startswith("__") or not plain:
            raise GatewayRefusal(f"improper label name {name!r}")
        labels[plain] = _from_base64(value) if plain != name else value
    if not labels.get("job"):
        raise GatewayRefusal("job name is required")
    return labels


def _from_base64(text: str) -> str:
    try:
        stripped = text.rstrip("=")
        return base64.urlsafe_b64decode(stripped + "=" * (-len(stripped) % 4)).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise GatewayRefusal(f"invalid base64 encoding in label value {text!r}") from error
