"""Environment variables that look like ours and are none.

A misspelt ``LOOKOUT_COLECTOR`` would otherwise be a setting that is silently not there. Named is
only what is close to a name we know: the collector and the application's own tools may read other
``LOOKOUT_*`` variables from the same environment.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping

from exporters.compiled import SWITCH

from . import config

_log = logging.getLogger("lookout")

_PREFIX = "LOOKOUT_"
#: How alike two names must be, from 0 to 1: some letters wrong, missing or too many.
_ALIKE = 0.8

#: What is read in this process.
_known = {
    *("LOOKOUT_CONFIG", SWITCH),
    *("LOOKOUT_KAFKA_BROKERS", "LOOKOUT_KAFKA_TOPIC", "LOOKOUT_CLICKHOUSE"),
    *(name for _, names, _, _ in config.table() for name in names),
}
#: What the collector reads and is close to that. A test compares.
_COLLECTORS = {
    *("LOOKOUT_CLICKHOUSE_URL", "LOOKOUT_READERS", "LOOKOUT_SERIES_PER_METRIC_MAX"),
    "LOOKOUT_SPAN_METRICS_INTERVAL",
}
_told: set[str] = set()


def know(names: Iterable[str]) -> None:
    """These are read too."""
    _known.update(names)


def nearest(name: str) -> str | None:
    """The variable that was probably meant by one that is not known; None where nobody can tell."""
    if not name.startswith(_PREFIX) or name in _known | _COLLECTORS:
        return None
    import difflib  # which hardly any process needs

    ours = [known.removeprefix(_PREFIX) for known in _known if known.startswith(_PREFIX)]
    found = difflib.get_close_matches(name.removeprefix(_PREFIX), ours, 1, _ALIKE)
    return f"{_PREFIX}{found[0]}" if found else None


def report(environment: Mapping[str, str] | None = None) -> None:
    """Name each misspelt variable once, with what was probably meant."""
    for name in os.environ if environment is None else environment:
        if name not in _told and (meant := nearest(name)):
            _told.add(name)
            _log.warning("%s is not known and has no effect; is it %s?", name, meant)
