"""Stages between decoding and the writer: filter, redact, enrich or sample rows.

A stage is an entry point of the group ``lookout.stages``: a callable without arguments that makes
an object with one method, :meth:`Stage.process`. The setting ``stages`` names those to run, in
order. Without it the decoder is used as it is, at no cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import entry_points
from typing import Any, Protocol

from .signal import Receipt, Rows, Signal
from .writer import Decode

GROUP = "lookout.stages"


class StageError(Exception):
    """A stage cannot be loaded; the text names it."""


class Stage(Protocol):
    """One step. Must be deterministic: after a crash it sees the same rows again."""

    def process(self, signal: str, rows: Rows, receipt: Receipt) -> Rows:
        """The rows to keep: the same object, changed or not, or another of its type.

        Raises Malformed to refuse the body (400).
        """


def load(name: str) -> Stage:
    """The stage of an entry point. Raises StageError."""
    found = list(entry_points(group=GROUP, name=name))
    if not found:
        known = ", ".join(sorted(point.name for point in entry_points(group=GROUP))) or "none"
        raise StageError(f"no stage named {name!r} is installed; installed: {known}")
    try:
        stage: Stage = found[0].load()()
    except Exception as error:  # whatever foreign code raises while loading
        raise StageError(f"the stage {name!r} cannot be loaded: {error}") from error
    return stage


def staged(signal: Signal[Any], names: Sequence[str]) -> Decode:
    """The signal's decoder followed by the stages."""
    return compose(signal, [load(name) for name in names])


def compose(signal: Signal[Any], stages: Sequence[Stage]) -> Decode:
    """The decoder itself where there are no stages."""
    if not stages:
        plain: Decode = signal.decode
        return plain

    def decode(fmt: str, body: bytes, receipt: Receipt) -> Rows:
        rows = signal.read(fmt, body, receipt)
        for stage in stages:
            rows = stage.process(signal.name, rows, receipt)
        packed: Rows = signal.pack(rows)
        return packed

    return decode
