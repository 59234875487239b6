"""What the meters tell of themselves: recordings refused, series folded and expired."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from .expiry import Expiry
from .family import Definition
from .metric import Kind, Tags
from .push.lookout import LookoutReporter, LookoutSender
from .registry import Registry
from .snapshot import NumberPoint, Snapshot


class SelfMetrics:
    """A source of ``lookout.meters.*``. What becomes of spans is the importer ``ledger``'s."""

    def __init__(self, registry: Registry, expiry: Expiry | None = None) -> None:
        self._registry = registry
        self._expiry = expiry
        self._created_ns = registry.clock_ns()

    def __call__(self) -> Iterator[Snapshot]:
        registry = self._registry
        refused: dict[Tags, float] = {
            (("reason", reason),): count for reason, count in [*registry.refused.items()]
        }
        if refused:
            yield self._counter("lookout.meters.refused", "Recordings not taken.", refused)
        yield self._counter(
            "lookout.meters.overflowed", "Look-ups folded into an overflow series.",
            {(): registry.overflowed}
        )  # fmt: skip
        if self._expiry is not None:
            yield self._counter(
                "lookout.meters.expired", "Idle series taken out.", {(): self._expiry.expired}
            )
        yield self._family("lookout.meters.series", "Series kept.", Kind.GAUGE, {(): len(registry)})

    def _counter(self, name: str, text: str, values: Mapping[Tags, float]) -> Snapshot:
        return _snapshot(name, text, Kind.COUNTER, values, self._created_ns)

    def _family(self, name: str, text: str, kind: Kind, values: Mapping[Tags, float]) -> Snapshot:
        return _snapshot(name, text, kind, values, self._created_ns)


class ReportMetrics:
    """A source of ``lookout.gateway.*``: what became of the lines for SOFALookout's gateway."""

    def __init__(self, registry: Registry, reporter: LookoutReporter, sender: LookoutSender):
        self._clock_ns = registry.clock_ns
        self._reporter = reporter
        self._sender = sender
        self._process = ""
        self._since_ns = 0

    def __call__(self) -> Iterator[Snapshot]:
        report = self._sender.report
        if report.process != self._process:  # forked: counts start at zero
            self._process, self._since_ns = report.process, self._clock_ns()
        ends: dict[Tags, float] = {
            (("outcome", f"dropped: {reason}"),): lines for reason, lines in report.dropped.items()
        }
        ends[(("outcome", "acknowledged"),)] = report.acknowledged
        ends[(("outcome", "not allowed"),)] = self._reporter.refused
        text = "Lines for the gateway, by what became of them."
        yield _snapshot("lookout.gateway.lines", text, Kind.COUNTER, ends, self._since_ns)
        waiting: dict[Tags, float] = {(): report.in_flight}
        text = "Lines that wait for the gateway."
        yield _snapshot("lookout.gateway.waiting", text, Kind.GAUGE, waiting, self._since_ns)


def _snapshot(
    name: str, text: str, kind: Kind, values: Mapping[Tags, float], since_ns: int
) -> Snapshot:
    mtype = "counter" if kind is Kind.COUNTER else "gauge"
    definition = Definition(name, kind, "", mtype, text)
    return Snapshot(
        definition, [NumberPoint(tags, value, since_ns) for tags, value in values.items()]
    )
