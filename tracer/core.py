"""What the hottest path is made of: in Python here, or compiled where that was built.

The compiled form (``_core.c``) has the same slots, and methods for the plain case. What is not
plain it hands to the Python function :func:`compiled` was given, which is also all there is without
it. So Python is the reference, and each rule is written there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from exporters.compiled import load

_core = load("tracer._core")


class SpanSlots:
    """Of :class:`tracer.span.Span`."""

    __slots__ = ("_carried", "_prev", "_tracer", "name")


class PassiveSlots(SpanSlots):
    """Of :class:`tracer.passive.PassiveSpan`."""

    __slots__ = ("_known_span_id", "_known_trace_id", "_root")


class RecordedSlots(SpanSlots):
    """Of :class:`tracer.recorded.RecordedSpan`."""

    # Each is 8 bytes of every span that waits in the ring.
    __slots__ = (
        "_extra",
        "_index",
        "_kept",
        "_kids",
        "_offset",
        "_rpc",
        "_sid",
        "_start",
        "_tags",
        "duration_ns",
        "flags",
        "kind",
        "parent_id",
        "trace_id",
    )


class TracerSlots:
    """Of :class:`tracer.tracer.Tracer`."""

    __slots__ = ("pipeline", "scope", "scope_version")


class PipelineSlots:
    """Of :class:`tracer.pipeline.Pipeline`, those that each span reads."""

    __slots__ = (
        "bits",
        "clock",
        "emit",
        "enabled",
        "keep_all",
        "now",
        "root_flags",
        "started",
        "unsampled",
    )


if not TYPE_CHECKING and _core is not None:
    SpanSlots, PassiveSlots = _core.SpanSlots, _core.PassiveSlots
    RecordedSlots = _core.RecordedSlots
    TracerSlots, PipelineSlots = _core.TracerSlots, _core.PipelineSlots


_references: dict[str, Callable[..., Any]] = {}


def provide(**objects: object) -> None:
    """Tell the compiled form, where there is one, of objects it compares with or makes."""
    if _core is not None:
        for name, value in objects.items():
            _core.provide(name, value)


def compiled(cls: type, *methods: str) -> None:
    """Leave ``methods`` of ``cls`` to its compiled base, where there is one.

    Aliases of a method go with it.
    """
    for name in methods:
        reference = _references[f"{cls.__name__}.{name}"] = vars(cls)[name]
        if _core is None:
            continue
        _core.provide(f"{cls.__name__}.{name}", reference)
        for alias in [alias for alias, value in vars(cls).items() if value is reference]:
            delattr(cls, alias)


def reference(cls: type, method: str) -> Callable[..., Any]:
    """The Python function behind a method that may be compiled."""
    return _references[f"{cls.__name__}.{method}"]


def implementation() -> str:
    """What runs the hottest path in this process: ``"compiled"`` or ``"python"``."""
    return "python" if _core is None else "compiled"
