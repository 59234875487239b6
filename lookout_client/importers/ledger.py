"""The loss ledger: what became of every span of this process, as metrics.

``created = sent + sampled_out + dropped + in_flight`` holds for each destination, to the span.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tracer import setup

from ..family import Definition
from ..metric import Kind, Tags
from ..registry import Registry
from ..snapshot import NumberPoint, Snapshot
from . import Context

_UNIT = "{span}"
_MEANING = {
    "created": "Spans finished.",
    "sampled_out": "Spans not kept by sampling.",
    "sent": "Spans given to a destination.",
    "acknowledged": "Spans that a destination says it has.",
    "dropped": "Spans given up, by reason.",
    "in_flight": "Spans that wait to be sent.",
}


def start(context: Context) -> None:
    """Expose the ledger of the running SDK; nothing while there is none."""
    context.undo.append(context.registry.add_source(LedgerReader(context.registry)))


class LedgerReader:
    """Reads the ledger with every collection."""

    def __init__(self, registry: Registry) -> None:
        self._clock_ns = registry.clock_ns
        self._process = ""
        self._since_ns = 0

    def __call__(self) -> Iterable[Snapshot]:
        ledger = setup.ledger()
        if not ledger:
            return []
        if ledger["process"] != self._process:  # set up anew, or forked: counts start at zero
            self._process = ledger["process"]
            self._since_ns = self._clock_ns()
        return self._snapshots(ledger)

    def _snapshots(self, ledger: Mapping[str, Any]) -> Iterable[Snapshot]:
        reports = ledger["destinations"].items()
        yield self._counter("created", {(): ledger["created"]})
        yield self._counter("sampled_out", {(): ledger["sampled_out"]})
        for name in ("sent", "acknowledged"):
            yield self._counter(name, {_at(where): report[name] for where, report in reports})
        yield self._counter(
            "dropped",
            {
                (*_at(where), ("reason", reason)): count
                for where, report in reports
                for reason, count in report["dropped"].items()
            },
        )
        waiting = {_at(where): report["in_flight"] for where, report in reports}
        yield Snapshot(
            Definition(
                "lookout.spans.in_flight", Kind.GAUGE, _UNIT, "gauge", _MEANING["in_flight"]
            ),
            [NumberPoint(tags, value, self._since_ns) for tags, value in waiting.items()],
        )

    def _counter(self, name: str, values: Mapping[Tags, int]) -> Snapshot:
        definition = Definition(
            f"lookout.spans.{name}", Kind.COUNTER, _UNIT, "counter", _MEANING[name]
        )
        return Snapshot(
            definition, [NumberPoint(tags, value, self._since_ns) for tags, value in values.items()]
        )


def _at(destination: str) -> Tags:
    return (("destination", destination),)
