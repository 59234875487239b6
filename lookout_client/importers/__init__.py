"""What a process measures by itself: its runtime, its machine, its log, its HTTP.

An importer is a function that takes a :class:`Context` and registers metrics. Ours are named in
:data:`BUILT_IN`; others come as entry points of the group ``lookout_importers``. One that fails
is logged, counted and left out; the rest goes on.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import entry_points
from typing import Any

from ..meters import Counter
from ..mixin import Mixin
from ..registry import Registry

_log = logging.getLogger("lookout")

GROUP = "lookout_importers"
BUILT_IN = {
    "python": "python",
    "process": "process",
    "system": "system",
    "logging": "log_records",  # a submodule called logging would hide the standard one here
    "ledger": "ledger",
}


@dataclass(slots=True)
class Context:
    """Where an importer registers, and under whose names.

    ``sofalookout`` asks for SOFALookout's metric names where there are any. What is appended to
    ``undo`` is called when the importer ends.
    """

    registry: Registry
    sofalookout: bool = False
    undo: list[Callable[[], object]] = field(default_factory=list)

    def gauges(
        self,
        name: str,
        readings: Mapping[str, Callable[[], float]],
        tags: Mapping[str, str] | None = None,
        *,
        description: str = "",
        **options: Any,
    ) -> None:
        """A mixin ``name`` of gauges, each with its callback."""
        mixin = Mixin(self.registry, name, tags or {}, **options)
        for component, read in readings.items():
            mixin.gauge(component, read, description=description)
            self.undo.append(partial(self.registry.remove, f"{name}.{component}"))


Importer = Callable[[Context], object]


def start_importers(
    registry: Registry, names: Iterable[str], naming: str = "opentelemetry"
) -> Callable[[], None]:
    """Start the importers named; the answer ends them."""
    context = Context(registry, naming == "sofalookout")
    failures = registry.counter(
        "lookout.importer.failures",
        keys=("importer",),
        unit="1",
        description="Importers left out because they failed.",
    )
    for name in names:
        _start(name, context, failures)

    def stop() -> None:
        while context.undo:
            context.undo.pop()()

    return stop


def _start(name: str, context: Context, failures: Counter) -> None:
    try:
        find(name)(context)
    except Exception as error:
        remedy = _remedy(error)
        if not remedy:  # an extra that is not installed is a choice, and no failure
            failures.inc(importer=name)
        # A library that is not installed is no fault; whoever named the importer may look here.
        level = logging.INFO if isinstance(error, ImportError) else logging.WARNING
        _log.log(level, "importer %s is left out: %s%s", name, error, remedy)


def _remedy(error: Exception) -> str:
    """How to install what is missing, where an extra of ours has it."""
    if isinstance(error, ModuleNotFoundError) and error.name == "psutil":
        return "; pip install 'lookout-telemetry[metrics]'"
    return ""


def find(name: str) -> Importer:
    """The importer of that name; LookupError if there is none."""
    if name in BUILT_IN:
        module = importlib.import_module(f".{BUILT_IN[name]}", __name__)
        return module.start  # type: ignore[no-any-return]
    for plug_in in entry_points(group=GROUP, name=name):
        return plug_in.load()  # type: ignore[no-any-return]
    raise LookupError(f"there is none of that name: expected {', '.join(BUILT_IN)} or a plug-in")
