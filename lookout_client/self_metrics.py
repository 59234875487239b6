"""What the meters tell of themselves: recordings refused, series folded and expired."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from .expiry import Expiry
from .family import Definition
from .metric import Kind, Tags
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
        return self._family(name, text, Kind.COUNTER, values)

    def _family(self, name: str, text: str, kind: Kind, values: Mapping[Tags, float]) -> Snapshot:
        mtype = "counter" if kind is Kind.COUNTER else "gauge"
        definition = Definition(name, kind, "", mtype, text)
        points = [NumberPoint(tags, value, self._created_ns) for tags, value in values.items()]
        return Snapshot(definition, list(points))
