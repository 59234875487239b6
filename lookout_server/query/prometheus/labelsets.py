"""Operations on label sets: sorted tuples of (name, value), see :data:`.source.Labels`."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from .quoting import quote
from .source import METRIC_NAME, Labels

#: What no longer describes a series once its values are something else.
METADATA = frozenset({METRIC_NAME, "__type__", "__unit__"})
NO_LABELS: Labels = ()


def get(labels: Labels, name: str) -> str:
    """The value of a label, ``""`` where the series has none of that name."""
    for key, value in labels:
        if key == name:
            return value
    return ""


def metric_name(labels: Labels) -> str:
    """The value of ``__name__``."""
    return get(labels, METRIC_NAME)


def without(labels: Labels, names: Collection[str]) -> Labels:
    """``labels`` less those named."""
    return tuple(pair for pair in labels if pair[0] not in names)


def only(labels: Labels, names: Collection[str]) -> Labels:
    """Those of ``labels`` that are named."""
    return tuple(pair for pair in labels if pair[0] in names)


def without_metadata(labels: Labels) -> Labels:
    """``labels`` less metric name, type and unit."""
    return tuple(pair for pair in labels if pair[0] not in METADATA)


def replaced(labels: Labels, changes: Mapping[str, str]) -> Labels:
    """``labels`` with some values set; an empty value removes the label."""
    merged = {**dict(labels), **changes}
    return tuple(sorted((name, value) for name, value in merged.items() if value))


def text(labels: Labels) -> str:
    """As Prometheus writes label sets in messages: ``{__name__="up", job="a"}``."""
    return "{" + ", ".join(f"{name_text(n)}={quote(v)}" for n, v in labels) + "}"


def name_text(name: str) -> str:
    """A label name, quoted unless it is made of letters, digits and underscores."""
    legacy = name.isascii() and name.replace("_", "a").isalnum() and not name[:1].isdigit()
    return name if legacy else quote(name)
