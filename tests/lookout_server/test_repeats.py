"""A body a client sends again is kept once."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from lookout_server.repeats import Repeats, digest

from .serving import Serve, rows
from .test_serve import JSON, span


async def test_once() -> None:
    """The second time nothing is kept; another body is."""
    repeats, kept = Repeats([b"old"]), []

    async def keep() -> None:
        kept.append(1)

    assert not await repeats.once(b"old", keep)
    assert await repeats.once(b"new", keep)
    assert not await repeats.once(b"new", keep)
    assert len(kept) == 1


async def test_a_repeat_waits_for_the_first() -> None:
    """A client that lost patience is answered when the body is durable, not before."""
    repeats, go = Repeats(), asyncio.Event()
    first = asyncio.create_task(repeats.once(b"x", go.wait))
    await asyncio.sleep(0)
    second = asyncio.create_task(repeats.once(b"x", go.wait))
    await asyncio.sleep(0)
    assert not second.done()
    go.set()
    assert [await first, await second] == [True, False]


async def test_a_cancelled_request_is_remembered() -> None:
    """The drain timeout ends a request, not the journalling of its body: a repeat is a repeat."""
    repeats, go, kept = Repeats(), asyncio.Event(), []

    async def keep() -> None:
        await go.wait()
        kept.append(1)

    first = asyncio.create_task(repeats.once(b"x", keep))
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    second = asyncio.create_task(repeats.once(b"x", keep))
    await asyncio.sleep(0)
    assert not second.done()
    go.set()
    assert not await second
    assert kept == [1]


async def test_what_failed_was_never_seen() -> None:
    """A body the journal refused is kept when it comes again."""
    repeats = Repeats()

    async def fail() -> None:
        raise OSError("disk full")

    async def keep() -> None:
        return

    with pytest.raises(OSError, match="disk full"):
        await repeats.once(b"x", fail)
    assert await repeats.once(b"x", keep)


async def test_memory_is_bounded() -> None:
    """The oldest is forgotten first."""
    repeats = Repeats(limit=2)

    async def keep() -> None:
        return

    for key in (b"a", b"b", b"c"):
        assert await repeats.once(key, keep)
    assert not await repeats.once(b"c", keep)
    assert await repeats.once(b"a", keep)


def test_processes_are_apart() -> None:
    """The same bytes of two processes are two bodies."""
    assert digest("p1", b"x") != digest("p2", b"x")


def test_across_a_kill(serve: Serve, tmp_path: Path) -> None:
    """The answer was lost with the collector: the repeat is answered 202 and stored once."""
    ledger = {"process": "p1", "service": "shop", "seq": 1, "created": 1, "sent": 1}
    headers, body = {**JSON, "X-Lookout-Ledger": json.dumps(ledger)}, span()
    serving = serve()
    assert serving.request("/api/v2/spans", body, headers)[0] == 202
    serving.kill()
    serving = serve()
    assert serving.request("/api/v2/spans", body, headers)[0] == 202
    assert serving.request("/api/v2/spans", body, headers)[0] == 202
    assert serving.metric('lookout_collector_repeated_bodies_total{signal="spans"}') == 2
    assert serving.terminate() == 0
    assert rows(tmp_path / "data", "SELECT count() AS n FROM spans") == [{"n": 1}]
