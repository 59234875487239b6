"""Stages see every body's rows, in order, and are not there when none is named."""

from __future__ import annotations

from importlib.metadata import EntryPoint, EntryPoints

import pytest

from lookout_server import stages
from lookout_server.config import load
from lookout_server.signal import Malformed, Receipt, Rows
from lookout_server.spans.signal import SpanSignal
from lookout_server.stages import StageError, compose, staged

from .test_serve import span

RECEIPT = Receipt("default", 1_795_000_000_000, {})


class Recorder:
    """Notes what it saw; refuses bodies of two rows."""

    seen: list[tuple[str, int, str]]

    def __init__(self) -> None:
        self.seen = []

    def process(self, signal: str, rows: Rows, receipt: Receipt) -> Rows:
        self.seen.append((signal, len(rows), receipt.tenant))
        if len(rows) == 2:
            raise Malformed("two are refused")
        return rows


def test_free_when_off() -> None:
    """Without stages the decoder is the signal's own."""
    signal = SpanSignal(load())
    assert compose(signal, []) == signal.decode


def test_each_sees_the_rows() -> None:
    """Every stage sees signal, rows and receipt."""
    first, second = Recorder(), Recorder()
    decode = compose(SpanSignal(load()), [first, second])
    assert len(decode("zipkin.v2.json", span(), RECEIPT)) == 1
    assert first.seen == second.seen == [("spans", 1, "default")]


def test_a_stage_may_refuse() -> None:
    """Malformed of a stage is the client's 400, and later stages are not asked."""
    first, second = Recorder(), Recorder()
    decode = compose(SpanSignal(load()), [first, second])
    two = span(1)[:-1] + b"," + span(2)[1:]
    with pytest.raises(Malformed, match="two are refused"):
        decode("zipkin.v2.json", two, RECEIPT)
    assert second.seen == []


def test_unknown_stages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A misspelt name says what is installed."""
    point = EntryPoint("redact", "no.such:thing", stages.GROUP)

    def installed(*, group: str, name: str | None = None) -> EntryPoints:
        return EntryPoints([point] if name in (None, "redact") else [])

    monkeypatch.setattr(stages, "entry_points", installed)
    with pytest.raises(StageError, match="no stage named 'redcat' is installed; installed: redact"):
        staged(SpanSignal(load()), ["redcat"])
    with pytest.raises(StageError, match="the stage 'redact' cannot be loaded: No module"):
        staged(SpanSignal(load()), ["redact"])
