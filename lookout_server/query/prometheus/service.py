"""What all handlers of the API share: the store, the engine and threads to run queries on."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial, wraps
from typing import Any, TypeAlias, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from ...http import Refused, read_body
from ...metrics.catalog import Catalog
from ...metrics.signal import MetricSignal
from ...server import Server
from ...signal import Malformed
from ...store.port import StoreError, StoreUnavailable
from .answers import Unavailable, failure, success
from .asking import ASKING, AskedStore, Asking, stage
from .context import CancelToken, EngineOptions
from .engine import Engine
from .errors import BadData, QueryCanceled, QueryError, StorageError
from .features import ALL, STABLE, Features
from .held import HeldSamples
from .parameters import Form
from .render import dumps
from .storage import ClickHouseSource

log = logging.getLogger("lookout.prometheus")
T = TypeVar("T")
Handler: TypeAlias = Callable[[Request], Awaitable[Response]]

#: Flag of ``--enable-feature`` -> field of Features.
FEATURE_FLAGS = {
    "promql-experimental-functions": "experimental_functions",
    "promql-extended-range-selectors": "extended_range_selectors",
    "promql-binop-fill-modifiers": "fill_modifiers",
}


class PrometheusService:
    """The parts a query needs, and how it is run: in a thread, cancelled with its client."""

    def __init__(self, server: Server) -> None:
        config = server.config
        self.server = server
        self.store = AskedStore(server.store)
        alone = config.clickhouse_url is None
        signal = metric_signal(server)
        self.catalog = Catalog(
            self.store,
            stored=(lambda: signal.series_stored) if signal else None,
            alone=alone,
        )
        self._held = None
        if alone and signal and config.promql_held_memory:
            self._held = HeldSamples(signal.freshness, config.promql_held_memory)
        self.options = EngineOptions(
            lookback_ms=int(config.promql_lookback * 1000),
            timeout_s=config.promql_timeout,
            max_samples=config.promql_max_samples,
            type_and_unit_labels="type-and-unit-labels" in config.enable_feature,
            start_timestamps=bool({"all", "use-start-timestamps"} & {*config.enable_feature}),
            features=features(config.enable_feature),
        )
        self.engine = Engine(self.options)
        self._threads = ThreadPoolExecutor(config.promql_concurrency, "lookout-promql")

    def source(self, tenant: str) -> ClickHouseSource:
        """The engine's source for one tenant."""
        return ClickHouseSource(
            self.store,
            self.catalog,
            tenant,
            starts=self.options.start_timestamps,
            memory_bytes=self.server.config.query_memory,
            threads=self.server.config.query_threads,
            held=self._held,
        )

    def forget(self, tenant: str) -> None:
        """Series of a tenant were deleted: believe nothing about them any more."""
        self.catalog.forget(tenant)
        signal = metric_signal(self.server)
        if signal is not None:
            signal.forget()
            signal.freshness.forget()

    async def form(self, request: Request) -> Form:
        """URL and body parameters. Raises BadData."""
        body = b""
        if request.method == "POST":
            try:
                body = await read_body(request, self.server)
            except (Malformed, Refused) as error:
                raise BadData(f"error parsing form values: {error}") from error
        form = Form.of(request, body)
        _asking().explained |= form.get("explain") == "1"
        return form

    async def run(
        self, request: Request, work: Callable[..., T], *args: Any, token: CancelToken | None = None
    ) -> T:
        """``work(*args)`` on a query thread, after what was accepted before is readable.

        When the client goes away, ``token`` is cancelled, what runs in ClickHouse is stopped and
        QueryCanceled raised.
        """
        asking = _asking()
        with stage("settle"):
            await self.server.settle("metrics")
        loop = asyncio.get_running_loop()
        context = contextvars.copy_context()
        future = loop.run_in_executor(self._threads, partial(context.run, work, *args))
        future.add_done_callback(_looked_at)
        watch = asyncio.create_task(_disconnected(request)) if request.method == "POST" else None
        try:
            waiting: set[asyncio.Future[Any]] = {future, watch} if watch else {future}
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if not future.done():
                raise QueryCanceled
            return future.result()
        except (asyncio.CancelledError, QueryCanceled):
            if token is not None:
                token.cancel()
            future.cancel()
            loop.run_in_executor(None, asking.cancel, self.server.store)
            raise
        finally:
            if watch is not None:
                watch.cancel()

    def endpoint(self, handler: Handler) -> Handler:
        """``handler`` with every error as the API words it, explained where that is asked for."""

        @wraps(handler)
        async def answered(request: Request) -> Response:
            asking = _asking()
            asking.explained = request.query_params.get("explain") == "1"
            try:
                response = await handler(request)
                if asking.explained and response.status_code == 200:
                    return success(request, dumps(asking.explanation.json()))
                return response
            except QueryError as error:
                return failure(error)
            except StoreUnavailable as error:
                return failure(Unavailable(str(error)))
            except StoreError as error:
                return failure(StorageError(str(error)))
            except RecursionError:
                return failure(BadData("query is nested too deeply"))

        return answered


def features(flags: list[str]) -> Features:
    """The experimental parts of PromQL that flags of Prometheus' names switch on."""
    if "all" in flags:
        return ALL
    fields = {FEATURE_FLAGS[flag]: True for flag in flags if flag in FEATURE_FLAGS}
    return Features(**fields) if fields else STABLE


def metric_signal(server: Server) -> MetricSignal | None:
    """What stores metrics in this process, where the collector has it."""
    writers = getattr(server, "writers", None)
    return None if writers is None else writers["metrics"].signal


def _asking() -> Asking:
    """What is known of the request at work; each has a context of its own."""
    asking = ASKING.get()
    if asking is None:
        asking = Asking()
        ASKING.set(asking)
    return asking


def _looked_at(future: asyncio.Future[Any]) -> None:
    """What fails after its client has gone is no news."""
    if not future.cancelled():
        future.exception()


async def _disconnected(request: Request) -> None:
    with suppress(ClientDisconnect):
        while (await request.receive())["type"] != "http.disconnect":
            pass
