"""How many cores this process may use."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

_GROUPS = Path("/sys/fs/cgroup")
_OURS = Path("/proc/self/cgroup")


def cores(groups: Path = _GROUPS, ours: Path = _OURS) -> int:
    """Those it may run on, or fewer where its control group, or one around it, may use less time.

    Source: "CPU Interface Files" and "Core Interface Files" in the kernel's documentation of
    control groups, version 2.
    """
    may_run_on = getattr(os, "sched_getaffinity", None)
    count = len(may_run_on(0)) if may_run_on else os.cpu_count() or 1
    quotas = [math.ceil(quota) for quota in _quotas(groups, groups / _group(ours))]
    return max(1, min([count, *quotas]))


def _group(ours: Path) -> str:
    """The place of our group below the root that is seen here; the root itself where unknown."""
    try:
        lines = ours.read_text().splitlines()
    except OSError:
        return ""
    found = [line.removeprefix("0::").strip("/") for line in lines if line.startswith("0::")]
    return found[0] if found and ".." not in found[0].split("/") else ""


def _quotas(groups: Path, group: Path) -> Iterator[float]:
    """Cores' worth of time of the group and of those around it, where it is limited."""
    for place in (group, *group.parents):
        try:
            allowed, period = (place / "cpu.max").read_text().split()
            if allowed != "max":
                yield int(allowed) / int(period)
        except (OSError, ValueError):
            pass  # the root has no such file, and older kernels have none
        if place == groups:
            return
