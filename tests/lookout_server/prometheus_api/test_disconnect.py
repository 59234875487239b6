"""A client that goes away takes its query with it, down to ClickHouse."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Message

from lookout_server.config import ServerConfig
from lookout_server.query.prometheus.context import CancelToken
from lookout_server.query.prometheus.service import PrometheusService
from lookout_server.store.port import Store

from .collector import PlainCollector

_SLOW = "SELECT sleepEachRow(0.1), '{tenant}' FROM numbers(500) SETTINGS max_block_size = 1"
_RUNNING = (
    "SELECT count() AS n FROM system.processes "
    "WHERE query LIKE '%sleepEachRow%' AND query LIKE '%{tenant}%' "
    "AND query NOT LIKE '%system.processes%'"
)


class Call:
    """A slow query as the server calls it, whose client goes away when told."""

    def __init__(self, store: Store, tenant: str, method: str) -> None:
        self.store = store
        self.service = PrometheusService(PlainCollector(store, ServerConfig(retention=0)))
        self.token = CancelToken()
        self.gone = asyncio.Event()
        self.ended: list[BaseException | None] = []
        self.sql = _SLOW.replace("{tenant}", tenant)
        self.running_sql = _RUNNING.replace("{tenant}", tenant)
        scope = {"type": "http", "method": method, "path": "/", "headers": [], "query_string": b""}
        self.request = Request(scope, self.receive)

    async def receive(self) -> Message:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    def fetch(self) -> Any:
        try:
            result = self.service.store.fetch(self.sql)
        except BaseException as error:
            self.ended.append(error)
            raise
        self.ended.append(None)
        return result

    async def handler(self, request: Request) -> Response:
        await self.service.run(request, self.fetch, token=self.token)
        return PlainTextResponse("answered")

    async def running(self) -> int:
        table = await asyncio.to_thread(self.store.fetch, self.running_sql)
        return int(table.column("n")[0].as_py())

    async def until_running(self, wanted: bool) -> None:
        async with asyncio.timeout(20):
            while bool(await self.running()) is not wanted:
                await asyncio.sleep(0.02)

    async def until_ended(self) -> None:
        async with asyncio.timeout(20):
            while not self.ended:
                await asyncio.sleep(0.02)


async def test_a_form_whose_client_has_gone(any_store: Store, tenant: str) -> None:
    """The answer is 499, the engine's token is cancelled, ClickHouse stops the statement."""
    call = Call(any_store, tenant, "POST")
    answer = asyncio.ensure_future(call.service.endpoint(call.handler)(call.request))
    await call.until_running(True)
    call.gone.set()
    assert (await answer).status_code == 499
    assert call.token.canceled
    await call.until_ended()
    assert call.ended[0] is not None
    await call.until_running(False)


async def test_a_get_that_is_cancelled(any_store: Store, tenant: str) -> None:
    """The middleware cancels a GET's task when its client goes: the statement stops too."""
    call = Call(any_store, tenant, "GET")
    answer = asyncio.ensure_future(call.service.endpoint(call.handler)(call.request))
    await call.until_running(True)
    answer.cancel()
    with pytest.raises(asyncio.CancelledError):
        await answer
    assert call.token.canceled
    await call.until_ended()
    assert call.ended[0] is not None
    await call.until_running(False)
