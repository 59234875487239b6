"""What could be better about a registry's metrics: remarks, never errors."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from exporters.naming import UNIT_WORDS, prometheus_name

from .family import Definition, Family
from .metric import Kind

if TYPE_CHECKING:
    from .registry import Registry

#: Units that have a base unit dashboards would rather see.
_BASE = {"ms": "s", "us": "s", "µs": "s", "ns": "s", "min": "s", "h": "s", "kB": "B", "MB": "B",
         "GB": "B", "KiB": "B", "MiB": "B", "GiB": "B", "KiBy": "By", "MiBy": "By",
         "GiBy": "By", "%": "1"}  # fmt: skip
_RESERVED_TAG = re.compile(r"_.*_\Z")


def remarks(registry: Registry) -> Iterator[str]:
    """A sentence for everything that could be better, metric by metric."""
    names: dict[str, str] = {}
    for family in list(registry.families.values()):
        definition = family.definition
        for remark in (*_about_unit(definition), *_about_name(definition), *_about_tags(family)):
            yield f"{definition.name}: {remark}"
        name = prometheus_name(definition.name, definition.unit, definition.mtype)
        other = names.setdefault(name, definition.name)
        if other != definition.name:
            yield f"{definition.name}: Prometheus knows it by the name of {other}, {name}"


def _about_unit(definition: Definition) -> Iterator[str]:
    unit = definition.unit
    main, _, _ = unit.partition("/")
    if unit in _BASE:
        yield f"unit {unit!r} is not a base unit: record in {_BASE[unit]!r}"
    elif main and "{" not in main and main not in UNIT_WORDS:
        yield f"unit {unit!r} is unknown to Metrics 2.0 and UCUM: write '{{{main}}}' for a thing"
    if not unit and definition.kind is not Kind.INFO:
        yield "no unit: say '1' for a plain number"


def _about_name(definition: Definition) -> Iterator[str]:
    name = definition.name
    if re.search(r"[^a-zA-Z0-9_.:/-]", name):
        yield "the name has characters that Prometheus and Lookout replace"
    if name.endswith(("_total", ".total")):
        yield "the name says 'total', which is added where it belongs"


def _about_tags(family: Family) -> Iterator[str]:
    keys = {key for tags in list(family.series) for key, _ in tags}
    for key in sorted(keys):
        if _RESERVED_TAG.match(key):
            yield f"tag {key!r} has the form of the system's own tags"
        elif key != key.lower():
            yield f"tag {key!r} is not lower case"
    if family.overflow is not None:
        yield f"more than {family.limit} series: look for a tag with too many values"
