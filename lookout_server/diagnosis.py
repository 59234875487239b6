"""The checks of ``lookout doctor``: each looks at one thing and says what it found."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import shutil
import socket
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Literal

from .config import ServerConfig, split_listen

Level = Literal["ok", "note", "problem"]

PACKAGES = ("tracer", "lookout_client", "lookout_server", "exporters")
DISTRIBUTION = "lookout-telemetry"
_HOME = Path(__file__).resolve().parent.parent  # where our packages lie side by side
_FEW_BYTES = 2 * 10**9
_MANY_PARTS = 300  # of one table; ClickHouse slows inserts down at 1,000 in a partition
_OLD_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report."""

    level: Level
    subject: str
    text: str

    def as_json(self) -> dict[str, str]:
        return asdict(self)


Check = Callable[[ServerConfig], Iterator[Finding]]


def diagnose(config: ServerConfig) -> list[Finding]:
    """All findings, in the order of the checks."""
    return [finding for check in CHECKS for finding in check(config)]


def check_port(config: ServerConfig) -> Iterator[Finding]:
    """Is the port free, or is it a collector that holds it?"""
    host, port = split_listen(config.listen)
    running = _metrics(config)
    if running is not None:
        yield Finding("ok", "port", f"a collector answers on {config.listen}")
        return
    try:
        with socket.create_server((host, port), family=_family(host)):
            yield Finding("ok", "port", f"{config.listen} is free")
    except OSError as error:
        why = os.strerror(error.errno or 0).lower()
        yield Finding("problem", "port", f"{config.listen} cannot be used: {why}")


def check_disk(config: ServerConfig) -> Iterator[Finding]:
    """Can the data directory be written, and is there room?"""
    place = config.data_dir
    existing = next(p for p in (place, *place.resolve().parents) if p.exists())
    if not os.access(existing, os.W_OK):
        yield Finding("problem", "disk", f"{existing} is not writable")
        return
    free = shutil.disk_usage(existing).free
    level: Level = "ok" if free > _FEW_BYTES else "problem"
    yield Finding(level, "disk", f"{place.resolve()} has {_size(free)} free")
    if config.disk_budget and config.disk_budget > free + _tree_size(place):
        text = f"disk_budget is {_size(config.disk_budget)}, more than the disk can give"
        yield Finding("note", "disk", text)


def check_clock(config: ServerConfig) -> Iterator[Finding]:
    """Spans of a wrong clock expire early or are refused."""
    if time.time() < 1_750_000_000:
        yield Finding("problem", "clock", f"the clock says {time.ctime()}: data would expire")
        return
    url = os.environ.get("LOOKOUT_DOCTOR_CLOCK_URL")
    if not url:
        yield Finding("ok", "clock", f"{time.strftime('%Y-%m-%d %H:%M:%S %Z')}")
        return
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            theirs = parsedate_to_datetime(answer.headers["Date"]).timestamp()
    except (OSError, TypeError, ValueError) as error:
        yield Finding("note", "clock", f"cannot compare with {url}: {error}")
        return
    off = time.time() - theirs
    yield Finding("ok" if abs(off) < 60 else "problem", "clock", f"{off:+.0f} s from {url}")


def check_parts(config: ServerConfig) -> Iterator[Finding]:
    """Does a running collector keep up?"""
    metrics = _metrics(config)
    if metrics is None:
        yield Finding("note", "collector", f"none answers on {config.listen}")
        return
    prefix = "lookout_collector_"
    age = metrics.get(f"{prefix}journal_oldest_seconds", 0.0)
    level: Level = "ok" if age < _OLD_SECONDS else "problem"
    yield Finding(level, "journal", f"the oldest body waits since {age:.0f} s")
    aside = metrics.get(f"{prefix}journal_set_aside", 0.0)
    if aside:
        yield Finding("problem", "journal", f"{aside:.0f} bodies could not be stored, see the log")
    for name, parts in metrics.items():
        match = re.fullmatch(prefix + r'table_parts\{table="(\w+)"\}', name)
        if match and parts > _MANY_PARTS:
            text = f"{match[1]} has {parts:.0f} parts: merges do not keep up"
            yield Finding("problem", "parts", text)
    yield from _decoding(metrics)
    yield from _losses(metrics)


def _decoding(metrics: Mapping[str, float]) -> Iterator[Finding]:
    """Does the process that decodes stay alive, where there is one?"""
    prefix = "lookout_collector_decoding_"
    restarts = metrics.get(f"{prefix}process_restarts", 0.0)
    up = metrics.get(f"{prefix}process_up", 0.0)
    if restarts:
        state = "runs again" if up else "is started again"
        text = f"the process that decodes has ended {restarts:.0f} times and {state}, see the log"
        yield Finding("note", "decoding", text)
    elif up:
        yield Finding("ok", "decoding", "a process of its own decodes bodies")


def _losses(metrics: Mapping[str, float]) -> Iterator[Finding]:
    """What was left out, by reason."""
    for counter, what in (("dropped_rows", "rows"), ("rejected_samples", "samples")):
        for name, count in metrics.items():
            if name.startswith(f"lookout_collector_{counter}_total") and count:
                reason = name.partition("{")[2].rstrip("}")
                yield Finding("note", counter.partition("_")[0], f"{count:.0f} {what}, {reason}")


def check_compiled(config: ServerConfig) -> Iterator[Finding]:
    """Are the compiled parts of the libraries used in this environment?"""
    try:
        from exporters.compiled import MODULES, missing
    except ImportError:  # hidden by the application's own, which the next check tells
        return
    for module, part in MODULES.items():
        reason = missing(module)
        text = f"{part} run in Python alone: {reason}" if reason else f"{part} are compiled"
        yield Finding("note" if reason else "ok", "compiled", text)


def check_shadowing(config: ServerConfig) -> Iterator[Finding]:
    """A ``tracer.py`` or ``exporters/`` in the working directory hides the library's package."""
    found = [*_unimportable(), *map(_hiding, _intruders(Path.cwd())), *_doubles()]
    yield from found
    if not found:
        yield Finding("ok", "packages", "nothing in this directory hides the library's packages")


def check_descriptors(config: ServerConfig) -> Iterator[Finding]:
    """Connections and database files need descriptors."""
    try:
        import resource
    except ModuleNotFoundError:  # Windows has no such limit
        return
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 < hard < config.connections_max * 2:
        text = f"at most {hard} open files for {config.connections_max} connections (ulimit -n)"
        yield Finding("note", "limits", text)


CHECKS: tuple[Check, ...] = (
    check_port,
    check_disk,
    check_clock,
    check_descriptors,
    check_parts,
    check_compiled,
    check_shadowing,
)


def _unimportable() -> Iterator[Finding]:
    for package in PACKAGES:
        if importlib.util.find_spec(package) is None:
            yield Finding("problem", "packages", f"{package} cannot be imported")


def _intruders(place: Path) -> list[Path]:
    """What a script started in ``place`` would get instead of ours, or we ourselves got.

    A folder hides a package only if it is one: without ``__init__.py`` Python goes on looking.
    Python looks for the console script's modules beside it and not in ``place``, so we do.
    """
    found: dict[Path, None] = {}  # a set that keeps the order
    for package in PACKAGES:
        spec = importlib.util.find_spec(package)
        paths = [place / package / "__init__.py", place / f"{package}.py"]
        if spec is not None and spec.origin is not None:
            paths.append(Path(spec.origin))
        ours = _HOME / package / "__init__.py"
        found.update((p, None) for p in paths if p.is_file() and p.resolve() != ours)
    return list(found)


def _hiding(path: Path) -> Finding:
    text = f"{path} hides the library's package of this name: rename it, or start Python with -P"
    return Finding("problem", "packages", text)


def _doubles() -> Iterator[Finding]:
    for package, owners in _owners().items():
        others = sorted(set(owners) - {DISTRIBUTION})
        if others:
            text = f"{', '.join(others)} installs a package {package} too"
            yield Finding("problem", "packages", text)


def _owners() -> dict[str, list[str]]:
    distributions = importlib.metadata.packages_distributions()
    return {package: list(distributions.get(package, ())) for package in PACKAGES}


def _metrics(config: ServerConfig) -> dict[str, float] | None:
    """The values of a collector that listens where the configuration says; None without one."""
    scheme = "https" if config.tls_cert else "http"
    try:
        with urllib.request.urlopen(f"{scheme}://{config.listen}/metrics", timeout=3) as answer:
            text = answer.read().decode()
    except (OSError, ValueError):
        return None
    found = re.findall(r"^(lookout_\S+) (\S+)$", text, re.MULTILINE)
    return {name: float(value) for name, value in found} or None


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _tree_size(place: Path) -> int:
    return sum(file.stat().st_size for file in place.rglob("*") if file.is_file())


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
