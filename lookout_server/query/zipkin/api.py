"""Zipkin's query API: ``/api/v2`` and, for its UI, ``/zipkin/api/v2``.

Parameters, statuses, texts and headers are Zipkin's. Two things are added to it: ``explain=1`` on
every query, and on ``traces`` ``sort=duration`` and ``cursor``.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

import orjson
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from ...server import Server, Service
from ...spans.model import BadSpan, Span, normalize_trace_id
from ..explain import Explanation
from .count_memory import CountMemory
from .dependencies import Answer, Dependencies
from .link_cache import LinkCache
from .link_keeper import LinkKeeper
from .memories import Memories
from .names import read_names
from .render import trace_bytes, traces_bytes
from .request import BadQuery, optional_long, parse_request, whole_number
from .search import Page, TraceSearch
from .status import status_routes
from .traces import TraceReader
from .ui import ui_routes
from .young_links import YoungLinks

_CACHE = {"Cache-Control": "max-age=300, must-revalidate"}
#: Lists of more than this many names are worth caching by browsers.
_FEW_NAMES = 3
_TRACES_MOST = 1000
#: So long after its last span a trace may have spans that wait: of the next batch (a second), sent
#: by flushers that gather for a second or two, from clocks that are a bit behind.
_GOES_ON_US = 5_000_000
#: Of an answer of traces that has more behind it: what to send as ``cursor`` for them.
CURSOR_HEADER = "X-Lookout-Next-Cursor"
#: Of dependencies, where not all of the range asked for is linked: the part that they are of,
#: and how far traces were followed over its beginning (ms), where that is less than elsewhere.
LINKED_HEADER = "X-Lookout-Linked"

_Handler = Callable[["_Query"], Awaitable[Response]]


def routes(server: Server) -> list[BaseRoute]:
    """Routes of the query API, of Zipkin's UI and of its status pages."""
    if not server.config.query_enabled:
        return status_routes(server)
    api = ZipkinApi(server)
    memories = Memories.of(server)
    endpoints: dict[str, _Handler] = {
        "services": api.services,
        "spans": api.spans,
        "remoteServices": api.remote_services,
        "traces": api.traces,
        "trace/{trace_id}": api.trace,
        "traceMany": api.trace_many,
        "dependencies": api.dependencies,
        "autocompleteKeys": api.autocomplete_keys,
        "autocompleteValues": api.autocomplete_values,
    }
    queries = [
        Route(f"{mount}/api/v2/{path}", _endpoint(server, handler, memories), methods=["GET"])
        for mount in ("", "/zipkin")
        for path, handler in endpoints.items()
    ]
    return [*queries, *status_routes(server), *ui_routes(server)]


def services(server: Server) -> list[Service]:
    """What runs beside the API."""
    return [LinkKeeper(server)] if server.config.query_enabled else []


class _Query:
    """One request: its tenant, its parameters and what is to be explained of it."""

    def __init__(self, server: Server, request: Request, memories: Memories | None) -> None:
        self.tenant = server.tenant(request)
        self.path = request.path_params
        # Of a repeated parameter the first counts.
        self.parameters = dict(reversed(request.query_params.multi_items()))
        self.explanation = Explanation()
        self.explained = self.parameters.get("explain") == "1"
        #: Who wants to know what a query costs has it read everything.
        self.memories = None if self.explained else memories

    def required(self, name: str) -> str:
        """A parameter that must be there, if only empty. Raises BadQuery."""
        if name not in self.parameters:
            raise BadQuery(f"Mandatory parameter/header/attribute is missing: {name}")
        return self.parameters[name]


def _endpoint(
    server: Server, handler: _Handler, memories: Memories | None
) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        query = _Query(server, request, memories)
        try:
            await server.settle("spans")
            response = await handler(query)
        except (BadQuery, BadSpan) as error:
            return PlainTextResponse(str(error), 400)
        if query.explained:
            return _json(orjson.dumps(query.explanation.json()))
        return response

    return endpoint


class ZipkinApi:
    """The handlers of the query API."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._config = server.config
        self._lookback_ms = round(server.config.query_lookback * 1000)
        self._links = LinkCache()
        self._counted = CountMemory.of(server)
        self._young = YoungLinks.of(server)
        #: Tenants whose last list of services was long enough to have name lists cached.
        self._cached: set[str] = set()

    async def services(self, query: _Query) -> Response:
        names = await self._names(query, "service")
        if len(names) > _FEW_NAMES:
            self._cached.add(query.tenant)
        else:
            self._cached.discard(query.tenant)
        return self._name_list(query, names)

    async def spans(self, query: _Query) -> Response:
        service = query.required("serviceName").lower()
        return self._name_list(query, await self._names(query, "span", service))

    async def remote_services(self, query: _Query) -> Response:
        service = query.required("serviceName").lower()
        return self._name_list(query, await self._names(query, "remote", service))

    async def autocomplete_keys(self, query: _Query) -> Response:
        return _json(orjson.dumps(sorted(self._config.autocomplete_keys)), _CACHE)

    async def autocomplete_values(self, query: _Query) -> Response:
        key = query.required("key")
        if not key:
            raise BadQuery("key was empty")
        known = key in self._config.autocomplete_keys
        values = await self._names(query, "tag", key) if known else []
        return _json(orjson.dumps(values), _CACHE if len(values) > _FEW_NAMES else None)

    async def traces(self, query: _Query) -> Response:
        request = parse_request(
            query.parameters,
            now_ms=time.time_ns() // 1_000_000,
            default_lookback=self._lookback_ms,
        )
        sort = query.parameters.get("sort", "timestamp")
        if sort not in ("timestamp", "duration"):
            raise BadQuery(f"sort is {sort!r}, expected timestamp or duration")
        cursor = query.parameters.get("cursor")
        after = Page.parse(cursor) if cursor else None
        if not self._config.search_enabled:
            return _json(b"[]")
        search = TraceSearch(
            self._reader(query),
            request,
            int(self._config.search_slack * 1_000_000),
            strict=self._config.strict_trace_id,
        )
        ordered = search.longest if sort == "duration" else search.most_recent
        traces, following = await ordered(after)
        headers = {CURSOR_HEADER: following.cursor()} if following else None
        return _json(traces_bytes(traces), headers)

    async def trace(self, query: _Query) -> Response:
        trace_id = normalize_trace_id(query.path["trace_id"].strip())
        traces = await self._whole(query, [trace_id])
        if not traces:
            return PlainTextResponse(f"{trace_id} not found", 404)
        return _json(trace_bytes(traces[0]))

    async def trace_many(self, query: _Query) -> Response:
        trace_ids = _trace_ids(query.required("traceIds"))
        return _json(traces_bytes(await self._whole(query, trace_ids)))

    async def dependencies(self, query: _Query) -> Response:
        query.required("endTs")
        end_ts = whole_number(query.parameters, "endTs")
        lookback = optional_long(query.parameters, "lookback")
        lookback = self._lookback_ms if lookback is None else lookback
        for name, value in (("endTs", end_ts), ("lookback", lookback)):
            if value <= 0:
                raise BadQuery(f"{name} <= 0")
        dependencies = Dependencies(
            self._server,
            query.tenant,
            query.explanation,
            self._links,
            young=self._young,
            counted=self._counted,
        )
        since = max(end_ts - lookback, 0)
        answer = await dependencies.between(since, end_ts)
        return _json(answer.links.json(), _linked(answer, since, end_ts))

    async def _whole(self, query: _Query, trace_ids: list[str]) -> list[list[Span]]:
        """The traces of these ids, with all that was accepted of them, however much else was.

        Somebody knows the ids: one that is not there may be on its way, and so may be more of a
        trace that went on a moment ago. Others are not waited for.
        """
        traces = await self._reader(query).by_ids(trace_ids)
        if len(traces) >= len(trace_ids) and not any(map(_may_go_on, traces)):
            return traces
        if not await self._server.settle("spans", patient=True):
            return traces
        return await self._reader(query).by_ids(trace_ids)

    def _reader(self, query: _Query) -> TraceReader:
        return TraceReader(self._server, query.tenant, query.explanation, query.memories)

    async def _names(self, query: _Query, what: str, service: str = "") -> list[str]:
        if not self._config.search_enabled or (what != "service" and not service):
            return []
        memory = query.memories.names if query.memories else None
        return await read_names(
            self._server, query.tenant, what, service, query.explanation, memory
        )

    def _name_list(self, query: _Query, names: list[str]) -> Response:
        return _json(orjson.dumps(names), _CACHE if query.tenant in self._cached else None)


def _may_go_on(trace: list[Span]) -> bool:
    """Whether more spans of a trace may wait to be stored, by the time of its last."""
    last = max(span.timestamp + span.duration for span in trace)
    return time.time_ns() // 1000 - last < _GOES_ON_US or not any(span.timestamp for span in trace)


def _linked(answer: Answer, since_ms: int, until_ms: int) -> dict[str, str] | None:
    """What the answer lacks of the range asked for, as a header."""
    crossing = "" if answer.crossing_ms is None else f"; crossing={answer.crossing_ms}"
    if (answer.since_ms, answer.until_ms) == (since_ms, until_ms) and not crossing:
        return None
    return {LINKED_HEADER: f"{answer.since_ms}-{answer.until_ms}{crossing}"}


def _trace_ids(text: str) -> list[str]:
    """Normalized ids of a comma-separated list. Raises BadQuery and BadSpan."""
    if not text:
        raise BadQuery("traceIds parameter is empty")
    normalized: dict[str, None] = {}
    for trace_id in text.split(",", _TRACES_MOST - 1):
        normal = normalize_trace_id(trace_id)
        if normal in normalized:
            raise BadQuery(f"redundant traceId: {trace_id}")
        normalized[normal] = None
    if len(normalized) == 1:
        raise BadQuery("Use /api/v2/trace/{traceId} endpoint to retrieve a single trace")
    return list(normalized)


def _json(body: bytes, headers: dict[str, str] | None = None) -> Response:
    return Response(body, media_type="application/json", headers=headers)
