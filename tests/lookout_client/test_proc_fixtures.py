"""E1: the machine under SOFALookout's names, read from ``/proc`` files with known figures.

The files are made by the published format (proc(5), iostats.rst of the kernel) so that they give
the figures that SOFALookout's own fixtures are known to give.
"""

from __future__ import annotations

import os
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from lookout_client import Registry
from lookout_client.importers import start_importers, system
from lookout_client.snapshot import NumberPoint

pytestmark = pytest.mark.skipif(not psutil.LINUX, reason="only Linux has /proc")

#: 6.62 % user, 5.67 % system, ... of the first eight columns; guest time is within user time.
STAT = """\
cpu  66200 0 56700 861400 200 0 12900 2600 4000 0
cpu0 66200 0 56700 861400 200 0 12900 2600 4000 0
ctxt 1
btime 1700000000
"""
MEMINFO = """\
MemTotal:        4106756 kB
MemFree:           51004 kB
MemAvailable:    2000000 kB
Buffers:          495632 kB
Cached:          1691248 kB
SReclaimable:          0 kB
Shmem:                 0 kB
Active:          1000000 kB
Inactive:        1000000 kB
Slab:                  0 kB
SwapCached:            0 kB
"""
NET_DEV = """\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo: 9 9 9 9 9 9 9 9 9 9 9 9 9 9 9 9
  eth0:1296767 9834 1 2 3 4 5 6 2437 31 7 8 9 10 11 12
docker0: 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1
bond0: 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1
"""  # noqa: E501
NET = {
    "in.bytes": 1296767, "in.packets": 9834, "in.errs": 1, "in.dropped": 2, "in.fifo.errs": 3,
    "in.frame.errs": 4, "in.compressed": 5, "in.multicast": 6, "out.bytes": 2437,
    "out.packets": 31, "out.errs": 7, "out.dropped": 8, "out.fifo.errs": 9, "out.collisions": 10,
    "out.carrier.errs": 11, "out.compressed": 12,
}  # fmt: skip
FILE_SYSTEMS = "nodev\tsysfs\nnodev\ttmpfs\nnodev\tcgroup2\n\text4\n\txfs\n\tvfat\n"
MOUNTS = """\
sysfs /sys sysfs rw 0 0
tmpfs /run tmpfs rw 0 0
cgroup2 /sys/fs/cgroup cgroup2 rw 0 0
/dev/vda1 / ext4 rw 0 0
/dev/vda2 /boot vfat rw 0 0
/dev/vdb1 /home ext4 rw 0 0
/dev/vdc1 /data1 xfs rw 0 0
/dev/vdd1 /data2 xfs rw 0 0
/dev/vde1 /data3 xfs rw 0 0
"""


def disk_line(columns: int, reads: int, read_ms: int, writes: int, write_ms: int, busy: int) -> str:
    """A line of /proc/diskstats: 14 columns before Linux 4.18, then 18, then 20."""
    figures = [253, 0, "vda", reads, 0, 8, read_ms, writes, 0, 8, write_ms, 0, busy, busy]
    return " ".join(map(str, figures + [0] * (columns - 14))) + "\n"


class Machine:
    """A directory that stands for /proc, and a clock."""

    def __init__(self, proc: Path) -> None:
        self.proc = proc
        self.seconds = 0.0
        for name, text in {
            "stat": STAT, "meminfo": MEMINFO, "net/dev": NET_DEV, "self/mounts": MOUNTS,
            "filesystems": FILE_SYSTEMS, "diskstats": "",
        }.items():  # fmt: skip
            self.write(name, text)

    def write(self, name: str, text: str) -> None:
        path = self.proc / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine(tmp_path)
    Usage = namedtuple("Usage", "total used free percent")
    monkeypatch.setattr(psutil, "PROCFS_PATH", str(tmp_path))
    monkeypatch.setattr(os, "getloadavg", lambda: (2.40, 2.28, 2.38))
    monkeypatch.setattr(psutil, "disk_usage", lambda path: Usage(1000, 250, 750, 25.0))
    monkeypatch.setattr(system, "time", SimpleNamespace(monotonic=lambda: made.seconds))
    return made


Readings = dict[str, dict[str, float]]


@pytest.fixture
def read(machine: Machine) -> Callable[[], Readings]:
    """Starts the importer; each call reads all its gauges: by name, then by tags."""
    registry = Registry()
    start_importers(registry, ["system"], "sofalookout")

    def reading() -> Readings:
        found: Readings = {}
        for snapshot in registry.collect():
            for point in snapshot.points:
                assert isinstance(point, NumberPoint)
                key = ",".join(f"{k}={v}" for k, v in point.tags)
                found.setdefault(snapshot.definition.name, {})[key] = point.value
        return found

    return reading


def test_e1_cpu_load_and_memory(read: Callable[[], Readings]) -> None:
    """Shares of all eight columns since boot at the first reading, load, kB times 1024."""
    found = read()
    modes = {"user": 6.62, "nice": 0, "system": 5.67, "idle": 86.14, "iowait": 0.02, "irq": 0,
             "softirq": 1.29}  # fmt: skip
    assert {mode: found[f"os.cpu.{mode}"][""] for mode in modes} == modes
    load = {"1min": 2.40, "5min": 2.28, "15min": 2.38}
    assert {name: found[f"os.systemload.average.{name}"][""] for name in load} == load
    memory = {"total": 4205318144, "free": 52228096, "buffers": 507527168, "cached": 1731837952}
    assert {name: found[f"os.memory.stats.{name}.bytes"][""] for name in memory} == memory


def test_e1_cpu_share_of_the_time_since_the_last_reading(
    machine: Machine, read: Callable[[], Readings]
) -> None:
    """The second reading tells of what passed since the first."""
    read()
    machine.write("stat", STAT.replace("cpu  66200 0 56700 861400", "cpu  66275 0 56700 861425"))
    found = read()
    assert (found["os.cpu.user"][""], found["os.cpu.idle"][""]) == (75.0, 25.0)


def test_e1_network_has_sixteen_figures(read: Callable[[], Readings]) -> None:
    """All columns, also where no blank follows the colon; no loopback, no virtual interfaces."""
    found = {name: series for name, series in read().items() if name.startswith("os.net.stats.")}
    assert found == {f"os.net.stats.{name}": {"intfc=eth0": value} for name, value in NET.items()}


def test_e1_six_file_systems_and_percent_is_percent(read: Callable[[], Readings]) -> None:
    """Each by device, mount point and type; a quarter full is 25, not 0.25."""
    found = read()["os.disk.usage.percent.used"]
    assert set(found.values()) == {25.0}
    assert sorted(found) == [
        "device=/dev/vda1,root=/,type=ext4",
        "device=/dev/vda2,root=/boot,type=vfat",
        "device=/dev/vdb1,root=/home,type=ext4",
        "device=/dev/vdc1,root=/data1,type=xfs",
        "device=/dev/vdd1,root=/data2,type=xfs",
        "device=/dev/vde1,root=/data3,type=xfs",
    ]


@pytest.mark.parametrize("columns", [14, 18, 20])
def test_e1_disks_and_defect_16_newer_kernels(
    machine: Machine, read: Callable[[], Readings], columns: int
) -> None:
    """The same figures from every kernel's file, in doubles: 2988 ms of 120 s are 2.49 percent."""
    machine.write("diskstats", disk_line(columns, 1_000, 500, 2_000, 900, 4_000))
    read()
    machine.seconds += 120
    machine.write("diskstats", disk_line(columns, 1_100, 533, 101_900, 51_849, 6_988))
    found = read()
    figures = {name: found[f"os.io.stats.{name}"]["device=vda"] for name in
               ("svctm", "r_await", "w_await", "await", "util")}  # fmt: skip
    assert figures["util"] == 2.49
    assert {name: round(value, 2) for name, value in figures.items()} == {
        "svctm": 0.03, "r_await": 0.33, "w_await": 0.51, "await": 0.51, "util": 2.49
    }  # fmt: skip
