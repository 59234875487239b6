"""Traces by their ids while so much comes that others who read do not wait for the next batch."""

from __future__ import annotations

import time
from typing import Any

import httpx
import pytest

from lookout_server.config import load
from lookout_server.signal import Receipt, Rows
from lookout_server.store.embedded import EmbeddedStore

from .collector import PlainCollector


class LoadedCollector(PlainCollector):
    """Writes what it accepted when somebody waits for it patiently."""

    def __init__(self, store: EmbeddedStore) -> None:
        super().__init__(store, load())
        self.waited = 0
        self._held: list[tuple[str, str, bytes, Receipt]] = []

    async def accept(self, signal: str, fmt: str, body: bytes, receipt: Receipt) -> Rows:
        self._held.append((signal, fmt, body, receipt))
        rows: Rows = self.signal.decode(fmt, body, receipt)
        return rows

    async def settle(self, signal: str, *, patient: bool = False) -> bool:
        if not patient or not self._held:
            return False
        self.waited += 1
        for entry in self._held:
            await super().accept(*entry)
        self._held.clear()
        return True


def span(trace: int, number: int, at_us: int) -> dict[str, Any]:
    timed = {"timestamp": at_us} if at_us else {}
    return {"traceId": f"{trace:016x}", "id": f"{number:016x}", **timed}


@pytest.mark.parametrize("timed", [True, False], ids=["young", "of no time"])
@pytest.mark.parametrize("path", ["trace/1", "traceMany?traceIds=1,2"], ids=["one", "many"])
async def test_a_trace_by_its_id_has_all_that_was_accepted(
    store: EmbeddedStore, tenant: str, path: str, timed: bool
) -> None:
    """With nothing of it stored, or a part, it comes whole; an old trace waits for none."""
    collector = LoadedCollector(store)
    at_us = time.time_ns() // 1000 + 60_000_000 if timed else 0
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(collector.app()),
        base_url="http://collector",
        headers={"X-Scope-OrgID": tenant},
    ) as client:

        async def asked() -> list[int]:
            found = (await client.get(f"/api/v2/{path}")).json()
            return sorted(map(len, found)) if "Many" in path else [1, len(found)]

        await client.post("/api/v2/spans", json=[span(1, 1, at_us), span(2, 1, 5)])
        assert await asked() == [1, 1]
        await client.post("/api/v2/spans", json=[span(1, 2, at_us)])
        assert await asked() == [1, 2]
        assert await asked() == [1, 2]
        assert collector.waited == 2
        await client.post("/api/v2/spans", json=[span(3, 1, 5), span(4, 1, 5)])
        await collector.settle("spans", patient=True)
        await client.post("/api/v2/spans", json=[span(5, 1, 5)])
        for old in ("trace/3", "traceMany?traceIds=3,4"):
            assert len((await client.get(f"/api/v2/{old}")).json()) == old.count(",") + 1
        assert collector.waited == 3
