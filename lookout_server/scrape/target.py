"""Targets of a job: found, relabelled, and what a scrape of one became."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from .config import Job, ScrapeConfigInvalid, TargetGroup, read_targets
from .relabel import relabelled

_META = "__"


@dataclass(slots=True)
class Target:
    """One address to scrape, and how the last scrape went."""

    job: Job
    labels: Mapping[str, str]  # of every sample
    discovered: Mapping[str, str]
    url: str
    health: str = "unknown"
    last_error: str = ""
    last_scrape_ms: int = 0
    last_seconds: float = 0.0
    #: Series of the last scrape, to be ended when they are not in the next.
    series: set[tuple[tuple[str, str], ...]] = field(default_factory=set)
    #: Of a SOFALookout client: the steps that were taken, to be confirmed by the next scrape.
    cursors: tuple[int, ...] = ()

    @property
    def key(self) -> tuple[Any, ...]:
        """Equal for the same target found again."""
        return (self.job.name, self.url, tuple(sorted(self.labels.items())))


def discover(job: Job) -> tuple[list[Target], list[dict[str, str]]]:
    """The targets of a job, and what was found and dropped by relabelling.

    Raises ScrapeConfigInvalid where a file of targets cannot be read.
    """
    kept: dict[tuple[Any, ...], Target] = {}
    dropped: list[dict[str, str]] = []
    for group in (*job.groups, *_from_files(job)):
        for address in group.targets:
            discovered = _discovered(job, group, address)
            target = _target(job, discovered)
            if target is None:
                dropped.append(discovered)
            else:
                kept.setdefault(target.key, target)
    return list(kept.values()), dropped


def _from_files(job: Job) -> Iterator[TargetGroup]:
    for pattern in job.files:
        for path in sorted(glob.glob(pattern)):
            try:
                yield from read_targets(Path(path))
            except ScrapeConfigInvalid as error:
                raise ScrapeConfigInvalid(f"job {job.name}: {error}") from error


def _discovered(job: Job, group: TargetGroup, address: str) -> dict[str, str]:
    params = {f"__param_{name}": values[0] for name, values in job.params.items() if values}
    return {
        "job": job.name,
        "__address__": address,
        "__metrics_path__": job.path,
        "__scheme__": job.scheme,
        "__scrape_interval__": f"{job.interval:g}s",
        "__scrape_timeout__": f"{job.timeout:g}s",
        **params,
        **group.labels,
    }


def _target(job: Job, discovered: Mapping[str, str]) -> Target | None:
    labels = relabelled(job.relabel, discovered)
    if labels is None or not labels.get("__address__"):
        return None
    address = labels["__address__"]
    params = dict(job.params)
    for name, value in labels.items():
        if name.startswith("__param_"):
            params[name.removeprefix("__param_")] = [value]
    query = urlencode(params, doseq=True)
    scheme = labels.get("__scheme__", "http")
    url = f"{scheme}://{address}{labels.get('__metrics_path__', '/metrics')}"
    public = {name: value for name, value in labels.items() if not name.startswith(_META)}
    public.setdefault("instance", address)
    return Target(job, public, discovered, f"{url}?{query}" if query else url)
