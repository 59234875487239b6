"""Whether a trace is kept. The question is asked once, at its root in this process.

Children inherit the answer, and the answer is what is propagated.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from .span_context import SpanContext


class Decision(NamedTuple):
    """The answer of a sampler."""

    sampled: bool
    tags: Mapping[str, object] | None = None  # to be set on the root
    tracestate: str | None = None  # to replace the parent's


KEEP = Decision(True)
DROP = Decision(False)

#: The part of a trace id that W3C trace-context level 2 promises to be random: its low 56 bits.
RANDOM_BITS = 56
RANDOM_MASK = (1 << RANDOM_BITS) - 1
NONE_KEPT = 1 << RANDOM_BITS  # as a bound below which a trace id is turned down


class Sampler(Protocol):
    """Decides about a root. Must not raise and not block; called by many threads at once.

    One that keeps exactly the trace ids whose low 56 bits are at or above a bound, where no caller
    decided, may say so with an attribute ``rejected_below``; it is then not asked about most roots.
    """

    def sample(
        self,
        trace_id: int,
        name: str,
        kind: int,
        tags: Mapping[str, object] | None,
        parent: SpanContext | None,
    ) -> Decision:
        """``parent`` is the remote caller's context, None where the trace begins here."""
        ...


class AlwaysOn:
    """Keeps every trace, whatever a caller decided."""

    rejected_below = 0

    def sample(
        self,
        trace_id: int,
        name: str,
        kind: int,
        tags: Mapping[str, object] | None,
        parent: SpanContext | None,
    ) -> Decision:
        return KEEP

    def __repr__(self) -> str:
        return "AlwaysOn()"


class AlwaysOff:
    """Keeps no trace, whatever a caller decided."""

    rejected_below = NONE_KEPT

    def sample(
        self,
        trace_id: int,
        name: str,
        kind: int,
        tags: Mapping[str, object] | None,
        parent: SpanContext | None,
    ) -> Decision:
        return DROP

    def __repr__(self) -> str:
        return "AlwaysOff()"


class Ratio:
    """Keeps a fraction of all traces, chosen by trace id: every process picks the same ones.

    A trace is kept when the low 56 bits of its id are at or above ``(1 - ratio) * 2**56`` (the
    rule of OpenTelemetry's consistent probability sampling), so a smaller ratio keeps a subset of
    what a larger one keeps. Any fraction is exact to one part in 2**56.
    """

    def __init__(self, ratio: float) -> None:
        if not 0.0 <= ratio <= 1.0:
            raise ValueError(f"sampling ratio must be between 0 and 1, not {ratio!r}")
        self.ratio = ratio
        self.rejected_below = (1 << RANDOM_BITS) - round(ratio * (1 << RANDOM_BITS))

    def sample(
        self,
        trace_id: int,
        name: str,
        kind: int,
        tags: Mapping[str, object] | None,
        parent: SpanContext | None,
    ) -> Decision:
        return KEEP if trace_id & RANDOM_MASK >= self.rejected_below else DROP

    def __repr__(self) -> str:
        return f"Ratio({self.ratio})"


class ParentBased:
    """Follows the caller's decision; asks ``root`` where the trace begins or nobody decided."""

    def __init__(self, root: Sampler) -> None:
        self.root = root
        self.rejected_below = getattr(root, "rejected_below", None)

    def sample(
        self,
        trace_id: int,
        name: str,
        kind: int,
        tags: Mapping[str, object] | None,
        parent: SpanContext | None,
    ) -> Decision:
        if parent is None or parent.sampled is None:
            return self.root.sample(trace_id, name, kind, tags, parent)
        return KEEP if parent.sampled else DROP

    def __repr__(self) -> str:
        return f"ParentBased({self.root!r})"
