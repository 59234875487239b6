"""The machine: CPU, load, memory, file systems, disks, network. Through psutil.

Names as in https://opentelemetry.io/docs/specs/semconv/system/system-metrics/, or SOFALookout's
``os.*``. Ratios are from 0 to 1 and called so; what is called percent is from 0 to 100.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from ..family import Definition
from ..metric import Kind, Tags, tag_set
from ..registry import Registry
from ..snapshot import NumberPoint, Snapshot
from . import Context

#: File systems that hold no files of anybody's.
PSEUDO = frozenset(("cgroup", "cgroup2", "debugfs", "devtmpfs", "nfs", "overlay", "proc",
                    "rpc_pipefs", "rootfs", "squashfs", "sysfs", "tmpfs"))  # fmt: skip
#: What each metric is, of SOFALookout's each mixin.
MEANING = {
    "system.cpu.time": "Time the processors spent in each mode.",
    "system.cpu.logical.count": "Processors.",
    "system.linux.load.1m": "Threads that ran or waited to, mean of a minute.",
    "system.linux.load.5m": "Threads that ran or waited to, mean of five minutes.",
    "system.linux.load.15m": "Threads that ran or waited to, mean of a quarter of an hour.",
    "system.memory.usage": "Memory by state.",
    "system.memory.limit": "Memory there is.",
    "system.filesystem.usage": "Space of file systems by state.",
    "system.filesystem.utilization": "Share of the space of file systems in use.",
    "system.disk.io": "Read from and written to disks.",
    "system.disk.operations": "Reads and writes of disks.",
    "system.network.io": "Received and sent.",
    "system.network.packet.count": "Packets received and sent.",
    "system.network.errors": "Errors in receiving and sending.",
    "system.network.packet.dropped": "Packets dropped.",
    "os.cpu": "Share of CPU time in percent.",
    "os.systemload.average": "Threads that ran or waited to.",
    "os.memory.stats": "Memory.",
    "os.disk.usage": "Space of a file system; percent.used from 0 to 100.",
    "os.io.stats": "Milliseconds a request of a disk takes; util is the percentage of time busy.",
    "os.net.stats": "Received (in) and sent (out) by an interface since it was started.",
}


def start(context: Context) -> None:
    """Measure this machine. ImportError without psutil."""
    import psutil

    reader = LookoutNames if context.sofalookout else OpenTelemetryNames
    context.undo.append(context.registry.add_source(reader(context.registry, psutil)))


class _Reader:
    """What both sets of names are read from."""

    def __init__(self, registry: Registry, psutil: Any) -> None:
        self.psutil = psutil
        self.created_ns = _booted_ns(psutil) or registry.clock_ns()

    def __call__(self) -> Iterator[Snapshot]:
        for part in self.parts():
            try:
                yield from part()
            except (OSError, AttributeError, NotImplementedError):
                continue  # this machine has no such thing, or does not tell

    def parts(self) -> Iterable[Callable[[], Iterator[Snapshot]]]:
        """The groups of metrics, each read by itself."""
        raise NotImplementedError

    def family(
        self, name: str, unit: str, kind: Kind, values: Iterable[tuple[dict[str, str], float]],
        group: str = "",
    ) -> Snapshot:  # fmt: skip
        """One metric with its series."""
        mtype = "counter" if kind is Kind.COUNTER else "gauge"
        definition = Definition(name, kind, unit, mtype, MEANING[group or name], group=group)
        points = [NumberPoint(tag_set(tags), value, self.created_ns) for tags, value in values]
        return Snapshot(definition, list(points))

    def file_systems(self) -> Iterator[tuple[Any, Any]]:
        """Partitions and their usage, those that cannot be asked left out."""
        for partition in self.psutil.disk_partitions(all=False):
            if partition.fstype in PSEUDO or partition.fstype.startswith("fuse."):
                continue
            try:
                yield partition, self.psutil.disk_usage(partition.mountpoint)
            except OSError:
                continue


def _booted_ns(psutil: Any) -> int:
    """Since when the machine counts: not since it was first asked. 0 where it does not tell."""
    try:
        return int(psutil.boot_time() * 1e9)
    except (OSError, RuntimeError, AttributeError):
        return 0


class OpenTelemetryNames(_Reader):
    """The machine under OpenTelemetry's names."""

    def parts(self) -> Iterable[Callable[[], Iterator[Snapshot]]]:
        return self._cpu, self._load, self._memory, self._files, self._disks, self._network

    def _cpu(self) -> Iterator[Snapshot]:
        times = self.psutil.cpu_times()
        values = [({"cpu.mode": mode}, seconds) for mode, seconds in times._asdict().items()]
        yield self.family("system.cpu.time", "s", Kind.COUNTER, values)
        count = float(self.psutil.cpu_count() or 0)
        yield self.family("system.cpu.logical.count", "{cpu}", Kind.GAUGE, [({}, count)])

    def _load(self) -> Iterator[Snapshot]:
        for minutes, load in zip((1, 5, 15), os.getloadavg(), strict=True):
            name = f"system.linux.load.{minutes}m"
            yield self.family(name, "{thread}", Kind.GAUGE, [({}, load)])

    def _memory(self) -> Iterator[Snapshot]:
        memory = self.psutil.virtual_memory()
        states = {
            state: getattr(memory, state)
            for state in ("used", "free", "cached", "buffers")
            if hasattr(memory, state)
        }
        values = [({"system.memory.state": state}, value) for state, value in states.items()]
        yield self.family("system.memory.usage", "By", Kind.GAUGE, values)
        yield self.family("system.memory.limit", "By", Kind.GAUGE, [({}, memory.total)])

    def _files(self) -> Iterator[Snapshot]:
        usage: list[tuple[dict[str, str], float]] = []
        ratios: list[tuple[dict[str, str], float]] = []
        for partition, used in self.file_systems():
            where = {
                "system.device": partition.device,
                "system.filesystem.mountpoint": partition.mountpoint,
                "system.filesystem.type": partition.fstype,
            }
            usage.append(({**where, "system.filesystem.state": "used"}, used.used))
            usage.append(({**where, "system.filesystem.state": "free"}, used.free))
            ratios.append((where, used.percent / 100))
        if usage:
            yield self.family("system.filesystem.usage", "By", Kind.GAUGE, usage)
            yield self.family("system.filesystem.utilization", "1", Kind.GAUGE, ratios)

    def _disks(self) -> Iterator[Snapshot]:
        counters = (self.psutil.disk_io_counters(perdisk=True) or {}).items()
        for name, unit, fields in (
            ("system.disk.io", "By", ("read_bytes", "write_bytes")),
            ("system.disk.operations", "{operation}", ("read_count", "write_count")),
        ):
            values = [
                ({"system.device": device, "disk.io.direction": direction}, getattr(io, field))
                for device, io in counters
                for direction, field in zip(("read", "write"), fields, strict=True)
            ]
            if values:
                yield self.family(name, unit, Kind.COUNTER, values)

    def _network(self) -> Iterator[Snapshot]:
        counters = (self.psutil.net_io_counters(pernic=True) or {}).items()
        for name, unit, fields in (
            ("system.network.io", "By", ("bytes_recv", "bytes_sent")),
            ("system.network.packet.count", "{packet}", ("packets_recv", "packets_sent")),
            ("system.network.errors", "{error}", ("errin", "errout")),
            ("system.network.packet.dropped", "{packet}", ("dropin", "dropout")),
        ):
            values = [
                (
                    {"network.interface.name": device, "network.io.direction": direction},
                    getattr(io, field),
                )
                for device, io in counters
                for direction, field in zip(("receive", "transmit"), fields, strict=True)
            ]
            if values:
                yield self.family(name, unit, Kind.COUNTER, values)


class LookoutNames(_Reader):
    """The machine under SOFALookout's names, all gauges of a mixin each."""

    def __init__(self, registry: Registry, psutil: Any) -> None:
        super().__init__(registry, psutil)
        self._cpu_before = psutil.cpu_times()
        self._disks_before: dict[str, Any] = dict(psutil.disk_io_counters(perdisk=True) or {})
        self._disks_at = time.monotonic()

    def parts(self) -> Iterable[Callable[[], Iterator[Snapshot]]]:
        return self._cpu, self._load, self._memory, self._usage, self._disks, self._network

    def mixin(self, name: str, tags: Tags, values: dict[str, float]) -> Iterator[Snapshot]:
        """Gauges of one mixin and tag set."""
        for component, value in values.items():
            series = [(dict(tags), float(value))]
            yield self.family(f"{name}.{component}", "", Kind.GAUGE, series, group=name)

    def _cpu(self) -> Iterator[Snapshot]:
        now, before = self.psutil.cpu_times(), self._cpu_before
        self._cpu_before = now
        modes = ("user", "nice", "system", "idle", "iowait", "irq", "softirq")
        yield from self.mixin("os.cpu", (), cpu_percent(before._asdict(), now._asdict(), modes))

    def _load(self) -> Iterator[Snapshot]:
        names = ("1min", "5min", "15min")
        averages = dict(zip(names, os.getloadavg(), strict=True))
        yield from self.mixin("os.systemload.average", (), averages)

    def _memory(self) -> Iterator[Snapshot]:
        memory = self.psutil.virtual_memory()
        values = {
            f"{field}.bytes": getattr(memory, field, 0)
            for field in ("total", "free", "buffers", "cached")
        }
        yield from self.mixin("os.memory.stats", (), values)

    def _usage(self) -> Iterator[Snapshot]:
        for partition, used in self.file_systems():
            tags = tag_set(
                {"device": partition.device, "root": partition.mountpoint,
                 "type": partition.fstype}
            )  # fmt: skip
            values = {
                "total.bytes": used.total, "used.bytes": used.used, "percent.used": used.percent
            }  # fmt: skip
            yield from self.mixin("os.disk.usage", tags, values)

    def _disks(self) -> Iterator[Snapshot]:
        now, at = dict(self.psutil.disk_io_counters(perdisk=True) or {}), time.monotonic()
        elapsed_ms = (at - self._disks_at) * 1000
        for device, io in now.items():
            before = self._disks_before.get(device)
            if before is not None and elapsed_ms > 0:
                values = disk_times(before, io, elapsed_ms)
                yield from self.mixin("os.io.stats", (("device", device),), values)
        self._disks_before, self._disks_at = now, at

    def _network(self) -> Iterator[Snapshot]:
        for device, values in self._interfaces().items():
            if device == "lo" or device.startswith(("bond", "docker", "veth")):
                continue
            yield from self.mixin("os.net.stats", (("intfc", device),), values)

    def _interfaces(self) -> dict[str, dict[str, float]]:
        """What is known of each interface: all 16 figures on Linux, the half elsewhere."""
        try:
            path = Path(self.psutil.PROCFS_PATH, "net", "dev")
            return net_figures(path.read_text(encoding="utf-8"))
        except (AttributeError, OSError):  # no Linux, or none that shows it
            counters = (self.psutil.net_io_counters(pernic=True) or {}).items()
            return {
                device: {name: getattr(io, field) for name, field in _NET_FIELDS.items()}
                for device, io in counters
            }


#: Columns of /proc/net/dev, by SOFALookout's names (https://man7.org/linux/man-pages/man5/proc.5.html).
_NET_COLUMNS = (
    "in.bytes", "in.packets", "in.errs", "in.dropped",
    "in.fifo.errs", "in.frame.errs", "in.compressed", "in.multicast",
    "out.bytes", "out.packets", "out.errs", "out.dropped",
    "out.fifo.errs", "out.collisions", "out.carrier.errs", "out.compressed",
)  # fmt: skip
#: The same, as far as psutil has them.
_NET_FIELDS = {
    "in.bytes": "bytes_recv", "in.packets": "packets_recv",
    "in.errs": "errin", "in.dropped": "dropin",
    "out.bytes": "bytes_sent", "out.packets": "packets_sent",
    "out.errs": "errout", "out.dropped": "dropout",
}  # fmt: skip


def net_figures(text: str) -> dict[str, dict[str, float]]:
    """The figures of each interface in the text of ``/proc/net/dev``."""
    found = {}
    for line in text.splitlines():
        device, colon, figures = line.rpartition(":")
        numbers = figures.split()
        if colon and len(numbers) == len(_NET_COLUMNS):
            found[device.strip()] = dict(zip(_NET_COLUMNS, map(float, numbers), strict=True))
    return found


def cpu_percent(
    before: dict[str, float], now: dict[str, float], modes: Iterable[str]
) -> dict[str, float]:
    """The share of each mode in the time passed, from 0 to 100; since boot at first."""
    passed = {mode: now.get(mode, 0.0) - before.get(mode, 0.0) for mode in now}
    # guest time is part of user time already
    total = sum(value for mode, value in passed.items() if not mode.startswith("guest"))
    if total <= 0:
        passed, total = now, sum(v for mode, v in now.items() if not mode.startswith("guest"))
    return {mode: round(100 * passed.get(mode, 0.0) / total, 2) if total else 0.0 for mode in modes}


def disk_times(before: Any, now: Any, elapsed_ms: float) -> dict[str, float]:
    """How long requests took, in milliseconds, and how busy the disk was, in percent."""
    reads, writes = now.read_count - before.read_count, now.write_count - before.write_count
    read_ms, write_ms = now.read_time - before.read_time, now.write_time - before.write_time
    busy_ms = getattr(now, "busy_time", 0) - getattr(before, "busy_time", 0)
    requests = reads + writes
    return {
        "svctm": busy_ms / requests if requests else 0.0,
        "r_await": read_ms / reads if reads else 0.0,
        "w_await": write_ms / writes if writes else 0.0,
        "await": (read_ms + write_ms) / requests if requests else 0.0,
        "util": min(100 * busy_ms / elapsed_ms, 100.0),
    }
