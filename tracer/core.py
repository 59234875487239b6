"""What the hottest path is made of: in Python here, or compiled where that was built.

The compiled form (``_core.c``) has the same slots, and methods for the plain case. What is not
plain it hands to the Python function :func:`compiled` was given, which is also all there is without
it. So Python is the reference, and each rule is written there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from exporters.compiled import load

_core = load("tracer._core")


class SpanSlots:
    """Of :class:`tracer.span.Span`."""

    __slots__ = ("_carried", "_prev", "_tracer", "name")


class PassiveSlots(SpanSlots):
    """Of :class:`tracer.passive.PassiveSpan`."""

    __slots__ = ("_known_span_id", "_known_trace_id", "_root")


class TracerSlots:
    """Of :class:`tracer.tracer.Tracer`."""

    __slots__ = ("pipeline", "scope", "scope_version")


class PipelineSlots:
    """Of :class:`tracer.pipeline.Pipeline`, those that starting a span reads."""

    __slots__ = ("enabled", "keep_all", "unsampled")


if not TYPE_CHECKING and _core is not None:
    SpanSlots, PassiveSlots = _core.SpanSlots, _core.PassiveSlots
    TracerSlots, PipelineSlots = _core.TracerSlots, _core.PipelineSlots


def provide(**objects: object) -> None:
    """Tell the compiled form, where there is one, of objects it compares with or makes."""
    if _core is not None:
        for name, value in objects.items():
            _core.provide(name, value)


def compiled(cls: type, *methods: str) -> None:
    """Leave ``methods`` of ``cls`` to its compiled base, where there is one.

    Aliases of a method go with it.
    """
    if _core is None:
        return
    for name in methods:
        reference = vars(cls)[name]
        _core.provide(f"{cls.__name__}.{name}", reference)
        for alias in [alias for alias, value in vars(cls).items() if value is reference]:
            delattr(cls, alias)


def implementation() -> str:
    """What runs the hottest path in this process: ``"compiled"`` or ``"python"``."""
    return "python" if _core is None else "compiled"
