"""All that a collector remembers of what searches read."""

from __future__ import annotations

from ...server import Server
from ...spans.signal import SpanSignal
from .late import LateTraces
from .memory import ManyMemory, NamesMemory, StepMemory, TraceMemory


class Memories:
    """Of traces, of names, of steps of searches and of what came after their windows."""

    def __init__(self) -> None:
        self.traces = TraceMemory()
        self.names = NamesMemory()
        self.steps = StepMemory()
        self.many = ManyMemory()
        self.late = LateTraces()

    @classmethod
    def of(cls, server: Server) -> Memories | None:
        """Those of a collector that is told all that is stored; None for any other."""
        writers = getattr(server, "writers", None)
        if writers is None or server.config.clickhouse_url is not None:
            return None
        memories = cls()
        signal: SpanSignal = writers["spans"].signal
        for memory in (
            memories.traces,
            memories.names,
            memories.steps,
            memories.many,
            memories.late,
        ):
            signal.news.add(memory)
        return memories
