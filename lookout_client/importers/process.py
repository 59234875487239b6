"""This process: CPU, memory, files, threads, context switches. Through psutil.

Names as in https://opentelemetry.io/docs/specs/semconv/system/process-metrics/.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable

from ..family import Definition
from ..metric import Kind, Tags
from ..registry import Registry
from ..snapshot import NumberPoint, Snapshot
from ..steps import Priority
from . import Context


def start(context: Context) -> None:
    """Measure this process. ImportError without psutil."""
    reader = ProcessReader(context.registry)
    if context.sofalookout:
        context.gauges(
            "instance",
            {
                "mem.total": lambda: float(reader.memory_total()),
                "mem.free": lambda: float(reader.memory_free()),
                "processors": lambda: float(os.cpu_count() or 0),
                "uptime": lambda: reader.uptime() * 1000,
                "systemload.average": lambda: os.getloadavg()[0],
            },
            description="Machine and process.",
        )
        if hasattr(os, "statvfs"):
            _file_system(context, os.path.abspath(os.sep))
    else:
        context.undo.append(context.registry.add_source(reader))


def _file_system(context: Context, root: str) -> None:
    """SOFALookout's figures of the root file system, under its spelling of them."""

    def space(blocks: str) -> Callable[[], float]:
        def read() -> float:
            found = os.statvfs(root)
            return float(getattr(found, blocks) * found.f_frsize)

        return read

    context.gauges(
        "instance.file.system",
        {"total.space": space("f_blocks"), "free.space": space("f_bfree"),
         "usabe.space": space("f_bavail")},
        {"root": root},
        description="Bytes of the root file system.",
        priority=Priority.LOW,
    )  # fmt: skip


class ProcessReader:
    """Reads the process's own figures with every collection."""

    def __init__(self, registry: Registry) -> None:
        import psutil

        self._psutil = psutil
        self._clock_ns = registry.clock_ns
        self._pid = 0
        self._renew()

    def _renew(self) -> None:
        """A forked worker measures itself, not its parent."""
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._process = self._psutil.Process()
            self._created_ns = int(self._process.create_time() * 1e9)

    def uptime(self) -> float:
        """Seconds since the process was started."""
        return max(time.time() - float(self._process.create_time()), 0.0)

    def memory_total(self) -> int:
        """Bytes of memory of the machine."""
        return int(self._psutil.virtual_memory().total)

    def memory_free(self) -> int:
        """Bytes of memory available."""
        return int(self._psutil.virtual_memory().available)

    def __call__(self) -> Iterable[Snapshot]:
        self._renew()
        process = self._process
        with process.oneshot():
            cpu = process.cpu_times()
            memory = process.memory_info()
            switches = process.num_ctx_switches()
            threads = process.num_threads()
            files = process.num_fds() if hasattr(process, "num_fds") else None
        yield self._counter(
            "process.cpu.time", "s", "Time the processor spent on this process.",
            {(("cpu.mode", "user"),): cpu.user, (("cpu.mode", "system"),): cpu.system}
        )  # fmt: skip
        yield self._gauge("process.memory.usage", "By", "Memory in use.", memory.rss)
        yield self._gauge("process.memory.virtual", "By", "Memory committed.", memory.vms)
        yield self._gauge("process.thread.count", "{thread}", "Threads.", threads)
        yield self._gauge("process.uptime", "s", "Time since the start.", self.uptime())
        if files is not None:
            name, unit = "process.unix.file_descriptor.count", "{file_descriptor}"
            yield self._gauge(name, unit, "File descriptors in use.", files)
        kind = "process.context_switch.type"
        yield self._counter(
            "process.context_switches", "{context_switch}", "Times the processor was given up.",
            {((kind, "voluntary"),): switches.voluntary,
             ((kind, "involuntary"),): switches.involuntary}
        )  # fmt: skip

    def _gauge(self, name: str, unit: str, description: str, value: float) -> Snapshot:
        point = NumberPoint((), value, self._created_ns)
        return Snapshot(Definition(name, Kind.GAUGE, unit, "gauge", description), [point])

    def _counter(
        self, name: str, unit: str, description: str, values: dict[Tags, float]
    ) -> Snapshot:
        definition = Definition(name, Kind.COUNTER, unit, "counter", description)
        return Snapshot(
            definition,
            [NumberPoint(tags, value, self._created_ns) for tags, value in values.items()],
        )
