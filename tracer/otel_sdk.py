"""Our samplers and id generators for those who keep OpenTelemetry's SDK. Needs opentelemetry-sdk.

Both are entry points: ``OTEL_TRACES_SAMPLER=lookout_rate OTEL_TRACES_SAMPLER_ARG=100`` and
``OTEL_PYTHON_ID_GENERATOR=lookout``.
"""

from __future__ import annotations

from collections.abc import Sequence

from opentelemetry.context import Context
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import Link, SpanKind, TraceState, get_current_span
from opentelemetry.util.types import Attributes

from . import config
from .identity import RandomIds
from .kinds import kind_of
from .sampling import Sampler as OurSampler
from .setup import sampler_of
from .sofa_ids import SofaIds
from .span_context import SpanContext


class LookoutSampler(Sampler):
    """One of our samplers; spans below a span of this process follow that."""

    def __init__(self, sampler: OurSampler) -> None:
        self._sampler = sampler

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        """Whether to record and keep the span."""
        parent = get_current_span(parent_context).get_span_context()
        state = parent.trace_state if parent.is_valid else trace_state
        if parent.is_valid and not parent.is_remote:
            return _result(bool(parent.trace_flags & 1), attributes, state)
        remote = SpanContext.from_otel(parent) if parent.is_valid else None
        answer = self._sampler.sample(trace_id, name, kind_of(kind), attributes, remote)
        if answer.tracestate is not None:
            state = TraceState.from_header([answer.tracestate])
        tags = {**(attributes or {}), **(answer.tags or {})}
        return _result(answer.sampled, tags, state)  # type: ignore[arg-type]  # tags are values

    def get_description(self) -> str:
        return f"Lookout({self._sampler!r})"


def _result(sampled: bool, attributes: Attributes, state: TraceState | None) -> SamplingResult:
    decision = Decision.RECORD_AND_SAMPLE if sampled else Decision.DROP
    return SamplingResult(decision, attributes if sampled else None, state)


def configured_sampler(argument: str | None = None) -> LookoutSampler:
    """``lookout``: what LOOKOUT_SAMPLER and the configuration file say."""
    return LookoutSampler(sampler_of(config.load(_with(argument))))


def rate_sampler(argument: str | None = None) -> LookoutSampler:
    """``lookout_rate``: so many traces a second at most."""
    return _named("rate", argument)


def k_in_100_sampler(argument: str | None = None) -> LookoutSampler:
    """``lookout_k_in_100``: exactly so many of each hundred traces."""
    return _named("k_in_100", argument)


def rules_sampler(argument: str | None = None) -> LookoutSampler:
    """``lookout_rules``: the rules of the file LOOKOUT_SAMPLING_RULES names."""
    return _named("rules", argument)


def _named(name: str, argument: str | None) -> LookoutSampler:
    settings = {"sampler": f"parent:{name}", **_with(argument)}
    return LookoutSampler(sampler_of(config.load(settings)))


def _with(argument: str | None) -> dict[str, str]:
    return {"sampler_arg": argument} if argument else {}


class LookoutIds(IdGenerator):
    """``lookout``: random ids, seeded anew after a fork."""

    def __init__(self) -> None:
        self._ids = RandomIds()

    def generate_trace_id(self) -> int:
        return self._ids.generate_trace_id()

    def generate_span_id(self) -> int:
        return self._ids.generate_span_id()

    def is_trace_id_random(self) -> bool:
        return True


class LookoutSofaIds(IdGenerator):
    """``lookout_sofa``: trace ids of SOFATracer's form: address, time, sequence, process."""

    def __init__(self) -> None:
        self._ids = SofaIds()

    def generate_trace_id(self) -> int:
        return self._ids.generate_trace_id()

    def generate_span_id(self) -> int:
        return self._ids.generate_span_id()
