"""Views: how the metrics of OpenTelemetry instruments are shaped, by the instrument's name.

https://opentelemetry.io/docs/specs/otel/metrics/sdk/#view
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase


@dataclass(frozen=True, slots=True)
class View:
    """What to do with instruments whose name matches ``instrument_name``, ``*`` and ``?`` allowed.

    :param name: the metric's name instead of the instrument's.
    :param attribute_keys: the only attributes kept; None keeps all.
    :param boundaries: bucket bounds of a histogram.
    :param native: exponential buckets for a histogram.
    :param limit: series of the metric, instead of the registry's limit.
    :param drop: record nothing.
    """

    instrument_name: str
    name: str | None = None
    description: str | None = None
    attribute_keys: frozenset[str] | None = None
    boundaries: Sequence[float] | None = None
    native: bool | None = None
    limit: int | None = None
    drop: bool = False

    def matches(self, instrument_name: str) -> bool:
        """Whether the view is about that instrument. Names are compared without case."""
        return fnmatchcase(instrument_name.lower(), self.instrument_name.lower())


def view_of(views: Iterable[View], instrument_name: str) -> View | None:
    """The first view that matches, if any."""
    return next((view for view in views if view.matches(instrument_name)), None)
