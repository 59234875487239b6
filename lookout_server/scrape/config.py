"""The part of Prometheus' configuration file that scraping needs, read as it is written there."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ..query.prometheus.duration import parse_duration
from .relabel import BadRule, Rule, rule_of


class ScrapeConfigInvalid(ValueError):
    """The file is not what it should be; the text says where."""


_GLOBAL = {"scrape_interval", "scrape_timeout", "evaluation_interval", "external_labels"}
_TOP = {"global", "scrape_configs"}
_JOB = {
    "job_name", "scrape_interval", "scrape_timeout", "metrics_path", "scheme", "params",
    "honor_labels", "honor_timestamps", "static_configs", "file_sd_configs", "relabel_configs",
    "metric_relabel_configs", "sample_limit", "body_size_limit", "basic_auth", "authorization",
    "http_headers",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class TargetGroup:
    """Addresses that share labels."""

    targets: tuple[str, ...]
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Job:
    """One ``scrape_config``. Times in seconds."""

    name: str
    interval: float = 60.0
    timeout: float = 10.0
    path: str = "/metrics"
    scheme: str = "http"
    params: Mapping[str, list[str]] = field(default_factory=dict)
    honor_labels: bool = False
    honor_timestamps: bool = True
    groups: tuple[TargetGroup, ...] = ()
    files: tuple[str, ...] = ()
    relabel: tuple[Rule, ...] = ()
    metric_relabel: tuple[Rule, ...] = ()
    sample_limit: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ScrapeConfig:
    """All jobs."""

    jobs: tuple[Job, ...] = ()
    external_labels: Mapping[str, str] = field(default_factory=dict)


def load_scrape_config(path: Path) -> ScrapeConfig:
    """Read a ``prometheus.yml``. Raises ScrapeConfigInvalid."""
    document = _yaml(path)
    _check_keys(document, _TOP, f"{path}")
    general = document.get("global") or {}
    _check_keys(general, _GLOBAL, f"{path}: global")
    jobs = tuple(_job(entry, general, path) for entry in document.get("scrape_configs") or ())
    names = [job.name for job in jobs]
    if len(set(names)) < len(names):
        raise ScrapeConfigInvalid(f"{path}: a job_name stands twice")
    return ScrapeConfig(jobs, _labels(general.get("external_labels")))


def read_targets(path: Path) -> list[TargetGroup]:
    """Target groups of a file of ``file_sd_configs``. Raises ScrapeConfigInvalid."""
    groups = _yaml(path)  # JSON is YAML too
    if not isinstance(groups, list):
        raise ScrapeConfigInvalid(f"{path} is no list of target groups")
    return [_group(group, str(path)) for group in groups]


def _yaml(path: Path) -> Any:
    try:
        document = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ScrapeConfigInvalid(f"cannot read {path}: {error}") from error
    return {} if document is None else document


def _job(entry: Any, general: Mapping[str, Any], path: Path) -> Job:
    if not isinstance(entry, dict) or not entry.get("job_name"):
        raise ScrapeConfigInvalid(f"{path}: a scrape config needs a job_name")
    name = str(entry["job_name"])
    where = f"{path}: job {name}"
    _check_keys(entry, _JOB, where)
    interval = _seconds(entry.get("scrape_interval", general.get("scrape_interval", "1m")), where)
    timeout = _seconds(entry.get("scrape_timeout", general.get("scrape_timeout", "10s")), where)
    if timeout > interval:
        if "scrape_timeout" in entry:
            raise ScrapeConfigInvalid(f"{where}: scrape timeout greater than scrape interval")
        timeout = interval
    try:
        relabel = tuple(map(rule_of, entry.get("relabel_configs") or ()))
        metric_relabel = tuple(map(rule_of, entry.get("metric_relabel_configs") or ()))
    except BadRule as error:
        raise ScrapeConfigInvalid(f"{where}: {error}") from error
    files = [str(f) for sd in entry.get("file_sd_configs") or () for f in sd.get("files", ())]
    return Job(
        name=name,
        interval=interval,
        timeout=timeout,
        path=str(entry.get("metrics_path", "/metrics")),
        scheme=str(entry.get("scheme", "http")),
        params={k: [str(v) for v in vs] for k, vs in (entry.get("params") or {}).items()},
        honor_labels=bool(entry.get("honor_labels", False)),
        honor_timestamps=bool(entry.get("honor_timestamps", True)),
        groups=tuple(_group(group, where) for group in entry.get("static_configs") or ()),
        files=tuple(str(path.parent / file) for file in files),
        relabel=relabel,
        metric_relabel=metric_relabel,
        sample_limit=int(entry.get("sample_limit", 0)),
        headers=_headers(entry),
    )


def _headers(entry: Mapping[str, Any]) -> dict[str, str]:
    """``http_headers`` of one value each, and the one of ``basic_auth`` or ``authorization``."""
    own: dict[str, str] = {}
    for name, given in (entry.get("http_headers") or {}).items():
        values = [*(given.get("values") or ()), *(given.get("secrets") or ())]
        own[str(name)] = ", ".join(map(str, values))
    return own | _authorization(entry)


def _authorization(entry: Mapping[str, Any]) -> dict[str, str]:
    import base64

    if basic := entry.get("basic_auth"):
        pair = f"{basic.get('username', '')}:{basic.get('password', '')}"
        return {"Authorization": "Basic " + base64.b64encode(pair.encode()).decode()}
    if given := entry.get("authorization"):
        return {"Authorization": f"{given.get('type', 'Bearer')} {given.get('credentials', '')}"}
    return {}


def _group(entry: Any, where: str) -> TargetGroup:
    if not isinstance(entry, dict) or not isinstance(entry.get("targets"), list):
        raise ScrapeConfigInvalid(f"{where}: a target group needs a list of targets")
    return TargetGroup(tuple(map(str, entry["targets"])), _labels(entry.get("labels")))


def _labels(entry: Any) -> dict[str, str]:
    labels = {str(name): str(value) for name, value in (entry or {}).items()}
    for name in labels:
        if not re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_]*", name):
            raise ScrapeConfigInvalid(f"{name!r} is no valid label name")
    return labels


def _seconds(text: object, where: str) -> float:
    try:
        seconds = parse_duration(str(text)) / 1000
    except ValueError as error:
        raise ScrapeConfigInvalid(f"{where}: {error}") from None
    if seconds <= 0:
        raise ScrapeConfigInvalid(f"{where}: intervals and timeouts must be more than 0")
    return seconds


def _check_keys(entry: Any, known: set[str], where: str) -> None:
    if not isinstance(entry, dict):
        raise ScrapeConfigInvalid(f"{where}: expected a mapping, not {type(entry).__name__}")
    unknown = sorted(str(key) for key in set(entry) - known)
    if unknown:
        raise ScrapeConfigInvalid(f"{where}: unknown field {unknown[0]!r}")
