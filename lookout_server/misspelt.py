"""Names that look like the collector's settings and are none, in the environment and in files.

A misspelt ``LOOKOUT_RETENTIONS`` would otherwise be a setting that is silently not there. Named is
only what is close to a name we know: the client libraries read other ``LOOKOUT_*`` variables from
the same environment.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator

from .config import ServerConfig, environment_names

_PREFIX = "LOOKOUT_"
#: How alike two names must be, from 0 to 1: some letters wrong, missing or too many.
_ALIKE = 0.8

#: What the commands read besides the settings.
_COMMANDS = {
    *("LOOKOUT_CONFIG", "LOOKOUT_COLLECTOR", "LOOKOUT_TOKEN", "LOOKOUT_TENANT"),
    "LOOKOUT_DOCTOR_CLOCK_URL",
}
#: What the client libraries read and is close to a name of ours. A test compares.
CLIENTS = {
    *("LOOKOUT_CLICKHOUSE", "LOOKOUT_HEADERS", "LOOKOUT_MAX_SERIES_PER_METRIC"),
    "LOOKOUT_METRICS_INTERVAL",
}


def misspelt(environment: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Each variable that is not known but close to one that is, and that one."""
    known = {name for field in ServerConfig.model_fields for name in environment_names(field)}
    known |= _COMMANDS
    ours = [name.removeprefix(_PREFIX) for name in known if name.startswith(_PREFIX)]
    for name in environment:
        if name.startswith(_PREFIX) and name not in known | CLIENTS:
            for found in difflib.get_close_matches(name.removeprefix(_PREFIX), ours, 1, _ALIKE):
                yield name, f"{_PREFIX}{found}"


def named(setting: str) -> str:
    """A setting of a file that nobody knows, with the one that was probably meant."""
    meant = difflib.get_close_matches(setting.lower(), ServerConfig.model_fields, 1)
    return f"{setting} (is it {meant[0]}?)" if meant else setting
