"""When a body that was kept is answered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from lookout_server import intake as intakes
from lookout_server.config import ServerConfig
from lookout_server.decoding.decoder import Decoder
from lookout_server.intake import JournalIntake
from lookout_server.journal import Journal
from lookout_server.placing import Piece
from lookout_server.reconcile import Reconciliation
from lookout_server.self_metrics import SelfMetrics
from lookout_server.signal import Receipt, Rows
from lookout_server.spans.signal import SpanSignal

BODY = b'[{"traceId":"1","id":"1"}]'


class Late:
    """A writer whose next batch is taken when the test says so."""

    def __init__(self) -> None:
        self.pieces: list[Piece] = []
        self.next: Future[None] = Future()
        self.asked = asyncio.Event()

    def add(self, piece: Piece) -> None:
        self.pieces.append(piece)

    def room(self) -> Future[None]:
        self.asked.set()
        return self.next


Accept = Callable[[Late], asyncio.Task[Rows]]


@pytest.fixture
def accept(tmp_path: Path) -> Iterator[Accept]:
    """Has a body accepted before this writer."""
    config, journal = ServerConfig(), Journal(tmp_path / "journal.sqlite")
    decoder = Decoder({"spans": SpanSignal(config).decode})

    def begin(writer: Late) -> asyncio.Task[Rows]:
        writers: dict[str, Any] = {"spans": writer}
        intake = JournalIntake(config, journal, writers, decoder, SelfMetrics(), Reconciliation())
        receipt = Receipt("default", 1, {})
        return asyncio.create_task(intake.accept("spans", "zipkin.v2.json", BODY, receipt))

    yield begin
    journal.close()


async def test_an_answer_waits_for_room(accept: Accept) -> None:
    """What was kept is with the writer, and its sender is answered when the next batch begins."""
    writer = Late()
    answer = accept(writer)
    await writer.asked.wait()
    assert [piece.count for piece in writer.pieces] == [1]
    for _ in range(10):
        await asyncio.sleep(0)
    assert not answer.done()
    writer.next.set_result(None)
    assert len(await answer) == 1


async def test_an_answer_waits_no_longer(accept: Accept, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no batch begins the sender is answered all the same."""
    monkeypatch.setattr(intakes, "_HELD_SECONDS", 0.01)
    assert len(await accept(Late())) == 1
