"""Whatever valid query meets whatever data: an answer, or an error that names its kind."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

from lookout_server.query.prometheus.engine import Engine, EngineOptions
from lookout_server.query.prometheus.errors import QueryError
from lookout_server.query.prometheus.features import ALL
from lookout_server.query.prometheus.histogram import Buckets, Histogram, ResetHint
from lookout_server.query.prometheus.result import Result
from lookout_server.query.prometheus.source import STALE, MemorySource

from .grammar import Vocabulary, queries

_STEP_MS = 15_000
_SAMPLES = 80
_WORDS = Vocabulary(
    metrics=("requests_total", "memory", "latency", "latency_bucket", "mixed", "target_info"),
    labels={"job": ("api", "db"), "instance": ("a", "b"), "le": ("1", "+Inf", "x")},
    durations=("1ms", "30s", "1m", "5m", "90", "0.5"),
    numbers=("0", "1", "0.5", "-2", "Inf", "nan", "5m", "1e300"),
    strings=("", "job", "instance", "$1", "new", "(.*)"),
)


def _native(random: np.random.Generator, total: float, custom: bool) -> Histogram:
    counts = np.array([total, 2.0, 1.0])
    return Histogram(
        schema=-53 if custom else int(random.integers(-1, 2)),
        count=float(counts.sum()),
        sum=float(random.choice([total, np.nan, -3.5])),
        positive=Buckets(np.arange(3), counts),
        custom_values=(1.0, 5.0) if custom else (),
        hint=ResetHint(int(random.integers(0, 4))),
    )


def _source() -> MemorySource:
    random = np.random.default_rng(11)
    source = MemorySource()
    times = [step * _STEP_MS for step in range(_SAMPLES)]
    odd = [np.nan, np.inf, -np.inf, STALE, 1e308, 0.0]

    def add(name: str, samples: list[object], **labels: str) -> None:
        starts = [max(0, time - 40_000) for time in times] if name == "requests_total" else None
        source.add({"__name__": name, **labels}, times, samples, starts)

    for job in ("api", "db"):
        for instance in ("a", "b"):
            own = {"job": job, "instance": instance}
            counter = np.cumsum(random.integers(0, 9, _SAMPLES)).astype(float)
            counter[40:] -= counter[40]
            add("requests_total", counter.tolist(), **own)
            gauge = random.normal(size=_SAMPLES)
            add("memory", [odd[i % 6] if i % 7 == 0 else v for i, v in enumerate(gauge)], **own)
            custom = instance == "b"
            add("latency", [_native(random, float(v), custom) for v in counter], **own)
            both = [_native(random, 1.0, i % 9 == 0) if i % 3 else v for i, v in enumerate(gauge)]
            add("mixed", both, **own)
            add("target_info", [1.0] * _SAMPLES, version=instance, **own)
            for le in ("1", "5", "+Inf", "x"):
                add("latency_bucket", (counter * len(le)).tolist(), le=le, **own)
    return source


SOURCE = _source()


def _is_whole(result: Result) -> bool:
    """Whether a result's columns fit together."""
    if result.kind in ("scalar", "string"):
        return True
    rising = all(
        (np.diff(result.timestamps[low:high]) > 0).all()
        for low, high in zip(result.offsets[:-1], result.offsets[1:], strict=True)
    )
    distinct = len(set(result.labels)) == len(result.labels) == len(result.offsets) - 1
    filled = (np.diff(result.offsets) > 0).all()
    return bool(rising and distinct and filled and result.offsets[-1] == len(result.values))


@pytest.mark.parametrize("delayed", [True, False])
@given(query=queries(_WORDS))
@settings(max_examples=100, deadline=None)
def test_every_query_is_answered_or_refused(query: str, delayed: bool) -> None:
    """No query brings the engine down, at one step or at many, and results are well formed."""
    options = EngineOptions(
        features=ALL, delayed_name_removal=delayed, start_timestamps=True, max_samples=20_000
    )
    engine = Engine(options)
    for ask in (
        lambda: engine.instant(query, 600_000, SOURCE),
        lambda: engine.range(query, 300_000, 900_000, 70_000, SOURCE),
    ):
        try:
            assert _is_whole(ask())
        except QueryError as error:
            assert error.status in (400, 422)
