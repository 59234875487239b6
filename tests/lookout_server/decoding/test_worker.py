"""An answer that could not be made leaves the next ones right."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from lookout_server.decoding import worker as worker_module
from lookout_server.decoding.frames import Envelope, Frame, Inbox, Kind, Settings
from lookout_server.decoding.span_rows import SpanMirror
from lookout_server.decoding.worker import Worker
from lookout_server.signal import Receipt


@pytest.mark.parametrize("place", ["compress", "framed"])
def test_words_that_did_not_arrive_are_told_again(
    monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """Memory that is short for one body changes no name in another one."""
    worker, mirror = Worker(Settings()), SpanMirror()
    assert names(worker, mirror, 1, "a") == ["a"]
    works = getattr(worker_module, place)

    def fails(*args: Any, **named: Any) -> Any:
        if args[0] == Kind.FAILED:
            return works(*args, **named)
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(worker_module, place, fails)
        assert names(worker, mirror, 2, "b") is None
    assert names(worker, mirror, 3, "c") == ["c"]
    assert names(worker, mirror, 4, "b") == ["b"]


def names(worker: Worker, mirror: SpanMirror, number: int, name: str) -> list[str] | None:
    """Of the spans in the answer to a body; None where it failed."""
    body = json.dumps([{"traceId": "1", "id": "1", "name": name}]).encode()
    envelope = msgspec.msgpack.encode(Envelope("spans", "zipkin.v2.json", "t", 0, {}))
    answer = worker.answer(Frame(Kind.DECODE, envelope, body, b"", number))
    kind, news, encoded, _, answered = taken(answer)
    assert answered == number
    if kind is Kind.FAILED:
        return None
    rows = mirror.rows(news, encoded, Receipt("t", 0, {}))
    return [rows.words.texts[code] for code in rows.codes[0]]


def taken(answer: bytes) -> Frame:
    inbox = Inbox()
    inbox.room()[: len(answer)] = answer
    inbox.add(len(answer))
    frame = inbox.take()
    assert frame is not None
    return frame
