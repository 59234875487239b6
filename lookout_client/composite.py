"""Several registries behind one set of meters."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from .registry import Registry
from .timing import Timing, timed

#: Methods that record; they go to every registry, all others to the first.
RECORDING = frozenset(("inc", "dec", "set", "record", "record_ns", "observe"))
FACTORIES = frozenset(
    ("counter", "up_down_counter", "gauge", "timer", "summary", "histogram", "native_histogram",
     "native_timer", "info")
)  # fmt: skip


class CompositeMeter:
    """The same meter in several registries: recorded into all, read from the first."""

    __slots__ = ("_meters",)

    def __init__(self, meters: tuple[Any, ...]) -> None:
        self._meters = meters

    def with_tags(self, tags: Mapping[str, object] | None = None, /, **more: object) -> Any:
        """The composite of the meters with these tags."""
        return CompositeMeter(tuple(meter.with_tags(tags, **more) for meter in self._meters))

    def tagged(self, *values: str) -> Any:
        """The composite of the meters with these values of the declared keys."""
        return CompositeMeter(tuple(meter.tagged(*values) for meter in self._meters))

    def time(self, **tags: object) -> Timing:
        """Times a block once and records the duration into all."""
        return Timing(self.with_tags(**tags) if tags else self)  # type: ignore[arg-type]

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Times every call of ``function``."""
        return timed(self, function)  # type: ignore[arg-type]

    def __getattr__(self, name: str) -> Any:
        if name not in RECORDING:
            return getattr(self._meters[0], name)
        methods = [getattr(meter, name) for meter in self._meters]

        def record(*args: Any, **tags: Any) -> None:
            for method in methods:
                method(*args, **tags)

        return record

    def __repr__(self) -> str:
        return f"<Composite of {', '.join(map(repr, self._meters))}>"


class CompositeRegistry:
    """Creates every meter in all of its registries. Reads come from the first.

    A registry added later takes part from then on: meters made before do not reach into it. It
    may not contain another composite, which could contain it.
    """

    def __init__(self, *registries: Registry) -> None:
        self._registries: tuple[Registry, ...] = ()
        for registry in registries:
            self.add(registry)

    @property
    def registries(self) -> tuple[Registry, ...]:
        """Its registries, in the order they were added."""
        return self._registries

    def add(self, registry: Registry) -> None:
        """Create meters in ``registry`` too. TypeError for anything but a :class:`Registry`."""
        if not isinstance(registry, Registry):
            raise TypeError(f"a composite holds registries, not {type(registry).__name__}")
        if registry not in self._registries:
            self._registries = (*self._registries, registry)

    def __getattr__(self, name: str) -> Any:
        if name not in FACTORIES:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        if not self._registries:
            raise LookupError("the composite has no registry to make a meter in")

        def create(*args: Any, **options: Any) -> CompositeMeter:
            return CompositeMeter(
                tuple(getattr(registry, name)(*args, **options) for registry in self._registries)
            )

        create.__doc__ = inspect.getdoc(getattr(Registry, name))
        return create

    def __iter__(self) -> Any:
        """The first registry's series."""
        return iter(self._registries[0]) if self._registries else iter(())
