"""Rolling log files: no line lost, whatever happens to the files, the clock or the processes."""

from __future__ import annotations

import gzip
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from exporters.retention import Retention, rolled_files
from exporters.rhythm import Rhythm, reserve_seconds
from exporters.rolling_log import RollingLog

ROOT = Path(__file__).parents[2]

DAY = 86_400.0


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self, now: float = 1_750_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def lines_in(directory: Path) -> list[str]:
    """All lines of all files of a directory, rolled and compressed ones included."""
    return list(_lines(directory))


def _lines(directory: Path) -> Iterator[str]:
    for path in sorted(directory.iterdir()):
        data = path.read_bytes()
        if path.suffix == ".zst":
            import cramjam

            data = bytes(cramjam.zstd.decompress(data))
        yield from (gzip.decompress(data) if path.suffix == ".gz" else data).decode().splitlines()


def run(code: str, *arguments: object) -> subprocess.Popen[bytes]:
    """Start a Python process with the project on its path."""
    return subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)], cwd=ROOT)


@pytest.mark.parametrize("pattern", [".%Y-%m-%d_%H-%M-%S", "'.'yyyy-MM-dd_HH-mm-ss"])
def test_rolls_by_any_date_pattern(tmp_path: Path, pattern: str) -> None:
    """A line written in the next period goes to a new file; the old one gets its period's name."""
    clock = Clock()
    log = RollingLog(tmp_path / "biz.log", rhythm=pattern, clock=clock)
    log.write(b"one\n")
    os.utime(log.path, (clock.now, clock.now))
    clock.now += 1.5
    log.write(b"two\n")
    stamp = time.strftime(".%Y-%m-%d_%H-%M-%S", time.localtime(1_750_000_000))
    assert (tmp_path / f"biz.log{stamp}").read_bytes() == b"one\n"
    assert (tmp_path / "biz.log").read_bytes() == b"two\n"


def test_rolls_what_yesterday_left(tmp_path: Path) -> None:
    """The first line of a day rolls a file that an earlier process left the day before."""
    clock = Clock()
    (tmp_path / "biz.log").write_bytes(b"old\n")
    os.utime(tmp_path / "biz.log", (clock.now - DAY, clock.now - DAY))
    RollingLog(tmp_path / "biz.log", clock=clock).write(b"new\n")
    day = time.strftime(".%Y-%m-%d", time.localtime(clock.now - DAY))
    assert (tmp_path / f"biz.log{day}").read_bytes() == b"old\n"
    assert (tmp_path / "biz.log").read_bytes() == b"new\n"


def test_rolls_by_size(tmp_path: Path) -> None:
    """No file grows beyond the limit, and rolled files of one period are numbered."""
    log = RollingLog(tmp_path / "biz.log", max_bytes=30)
    for number in range(10):
        log.write(b"line number %02d\n" % number)
    files = sorted(tmp_path.iterdir())
    assert len(files) == 5
    assert all(path.stat().st_size <= 30 for path in files)
    assert sorted(lines_in(tmp_path)) == [f"line number {n:02d}" for n in range(10)]


def test_rolls_without_traffic(tmp_path: Path) -> None:
    """A file whose period is over is rolled even when nothing is written any more."""
    clock = Clock()
    log = RollingLog(tmp_path / "biz.log", clock=clock)
    log.write(b"one\n")
    clock.now += DAY
    log.roll_if_due()
    assert not (tmp_path / "biz.log").exists()
    assert lines_in(tmp_path) == ["one"]


def test_a_clock_that_goes_back_does_no_harm(tmp_path: Path) -> None:
    """Lines written at an earlier time than before go on in the same file."""
    clock = Clock()
    log = RollingLog(tmp_path / "biz.log", clock=clock)
    log.write(b"one\n")
    clock.now -= 3 * DAY
    log.write(b"two\n")
    clock.now += 3 * DAY
    log.write(b"three\n")
    assert (tmp_path / "biz.log").read_bytes() == b"one\ntwo\nthree\n"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_period_that_repeats_overwrites_nothing(tmp_path: Path) -> None:
    """When a rolled file's name is taken (clock set back, then a restart) both are kept."""
    clock = Clock()
    for text in (b"first\n", b"second\n"):
        log = RollingLog(tmp_path / "biz.log", clock=clock)
        log.write(text)
        os.utime(log.path, (clock.now, clock.now))
        clock.now += DAY
        log.roll_if_due()
        clock.now -= DAY
        log.close()
    assert sorted(lines_in(tmp_path)) == ["first", "second"]


@pytest.mark.parametrize("how", ["deleted", "moved", "directory deleted"])
def test_notices_files_taken_away(tmp_path: Path, how: str) -> None:
    """A file deleted or moved by others is made anew with the next line."""
    folder = tmp_path / "logs"
    log = RollingLog(folder / "biz.log")
    log.write(b"one\n")
    if how == "moved":
        (folder / "biz.log").rename(tmp_path / "elsewhere")
    else:
        (folder / "biz.log").unlink()
    if how == "directory deleted":
        folder.rmdir()
    assert log.write(b"two\n")
    assert (folder / "biz.log").read_bytes() == b"two\n"
    if how == "moved":
        assert (tmp_path / "elsewhere").read_bytes() == b"one\n"


def test_a_cut_line_does_not_spoil_the_next(tmp_path: Path) -> None:
    """After a crash in the middle of a line the next one starts on a line of its own."""
    log = RollingLog(tmp_path / "biz.log")
    log.write(b"one\n")
    with open(tmp_path / "biz.log", "ab") as dying:
        dying.write(b'{"half')
    log.write(b"two\n")
    assert lines_in(tmp_path) == ["one", '{"half', "two"]


def test_warns_once_and_recovers(tmp_path: Path, caplog: Any) -> None:
    """While the file cannot be written there is one warning; afterwards lines land again."""
    caplog.set_level(logging.INFO, "lookout")
    blocker = tmp_path / "logs"
    blocker.write_text("not a directory")
    log = RollingLog(blocker / "biz.log")
    assert [log.write(b"lost\n") for _ in range(3)] == [False] * 3
    blocker.unlink()
    assert log.write(b"kept\n")
    assert (blocker / "biz.log").read_bytes() == b"kept\n"
    assert ["cannot write" in r.getMessage() for r in caplog.records] == [True, False]


def test_a_full_disk_leaves_no_half_line(tmp_path: Path) -> None:
    """A batch that does not fit on the disk is taken back whole, and the next one may fit."""
    resource = pytest.importorskip("resource")
    log = RollingLog(tmp_path / "biz.log")
    log.write(b"one\n")
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, limits[1]))
        assert not log.write(b"far too long for this disk\n")
        assert (tmp_path / "biz.log").read_bytes() == b"one\n"
        assert log.write(b"two\n")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert lines_in(tmp_path) == ["one", "two"]


WRITER = """
import sys
from exporters.rolling_log import RollingLog
folder, me, count, rhythm, size = sys.argv[1], sys.argv[2], *sys.argv[3:]
log = RollingLog(folder + "/biz.log", rhythm=rhythm, max_bytes=int(size))
for first in range(0, int(count), 5):
    batch = "".join(f"{me}-{n}-{'x' * (n % 50)}\\n" for n in range(first, first + 5))
    assert log.write(batch.encode())
"""


@pytest.mark.parametrize(("processes", "count"), [(2, 10_000), (8, 4_000)])
def test_processes_share_a_directory(tmp_path: Path, processes: int, count: int) -> None:
    """Processes that write and roll the same file at once keep every line, once and whole."""
    arguments = (count, ".%Y-%m-%d_%H%M%S", 40_000)
    writers = [run(WRITER, tmp_path, me, *arguments) for me in range(processes)]
    assert [writer.wait(60) for writer in writers] == [0] * processes
    expected = {f"{me}-{n}-{'x' * (n % 50)}" for me in range(processes) for n in range(count)}
    found = lines_in(tmp_path)
    assert len(found) == len(expected) == processes * count
    assert set(found) == expected
    assert len(list(tmp_path.iterdir())) > processes


ENDLESS = """
import sys
from exporters.rolling_log import RollingLog
log = RollingLog(sys.argv[1] + "/biz.log", max_bytes=200_000)
number = 0
while True:
    log.write(b"".join(b"%s-%d\\n" % (b"y" * 200, n) for n in range(number, number + 50)))
    number += 50
"""


def test_survives_kill_9(tmp_path: Path) -> None:
    """Killing a writer at random leaves at most one cut line, and the others write on."""
    victim = run(ENDLESS, tmp_path)
    deadline = time.monotonic() + 20
    while not rolled_files(tmp_path / "biz.log") and time.monotonic() < deadline:
        time.sleep(0.01)
    victim.kill()
    victim.wait(10)
    log = RollingLog(tmp_path / "biz.log")
    assert log.write(b"survivor\n")
    found = lines_in(tmp_path)
    assert found[-1] == "survivor" or "survivor" in found
    whole = [line for line in found if line.startswith("y" * 200 + "-")]
    assert len(found) - len(whole) - 1 <= 1
    numbers = sorted(int(line.rpartition("-")[2]) for line in whole)
    assert numbers[: len(numbers) - 1] == list(range(len(numbers) - 1))


@pytest.mark.parametrize(
    ("fsync_s", "writing", "ending"),
    [(None, 0, 0), (0, 4, 2), (10, 2, 2)],
    ids=["never", "each batch", "every 10 s"],
)
def test_fsync_policy(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fsync_s: float | None,
    writing: int,
    ending: int,
) -> None:
    """Never, with each batch, or every so many seconds; flush and close follow the policy too."""
    calls: list[int] = []
    monkeypatch.setattr(os, "fsync", calls.append)
    clock = Clock()
    log = RollingLog(tmp_path / "biz.log", fsync_s=fsync_s, clock=clock)
    for _ in range(4):
        log.write(b"line\n")
        clock.now += 4
    assert len(calls) == writing
    log.sync()
    log.close()
    assert len(calls) == writing + ending


def test_own_files_where_there_are_no_locks(tmp_path: Path, monkeypatch: Any) -> None:
    """On a file system without locks each process writes a file of its own name."""
    import errno

    def refuse(descriptor: int, timeout_s: float) -> bool:
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr("exporters._filelock.lock", refuse)
    log = RollingLog(tmp_path / "biz.log", max_bytes=20)
    assert log.write(b"one two three\n")
    assert log.write(b"four five six\n")
    assert log.path.name == f"biz.{os.getpid()}.log"
    assert set(lines_in(tmp_path)) == {"one two three", "four five six"}


def _rolled(directory: Path, clock: Clock, ages: list[float]) -> None:
    for number, age in enumerate(ages):
        path = directory / f"biz.log.{number}"
        path.write_bytes(b"x" * 100)
        os.utime(path, (clock.now - age, clock.now - age))


@pytest.mark.parametrize(
    ("reserve", "unit", "kept"), [("3", DAY, 4), ("0D2H", 3600.0, 3), ("1", DAY, 2)]
)
def test_keeps_by_age(tmp_path: Path, reserve: str, unit: float, kept: int) -> None:
    """As with SOFATracer "3" keeps today's and three days before, "0D2H" this hour and two."""
    noon = time.mktime((2026, 3, 10, 12, 30, 0, 0, 0, -1))
    clock = Clock(noon)
    _rolled(tmp_path, clock, [n * unit for n in range(6)])
    Retention(reserve=reserve, clock=clock).tidy(tmp_path / "biz.log")
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"biz.log.{n}" for n in range(kept)]


def test_keeps_by_number_and_bytes(tmp_path: Path) -> None:
    """The newest files stay, as many as the limits of number and total size allow."""
    clock = Clock()
    _rolled(tmp_path, clock, [float(n) for n in range(6)])
    Retention(files=4, clock=clock).tidy(tmp_path / "biz.log")
    assert len(list(tmp_path.iterdir())) == 4
    Retention(total_bytes=250, clock=clock).tidy(tmp_path / "biz.log")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["biz.log.0", "biz.log.1"]


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_compresses_rolled_files(tmp_path: Path, kind: Any) -> None:
    """Rolled files are compressed, keep their lines and their age; the live file stays plain."""
    if kind == "zstd":
        pytest.importorskip("cramjam")
    log = RollingLog(tmp_path / "biz.log", max_bytes=100)
    for number in range(30):
        log.write(b"line %02d\n" % number)
    ages = {path.name: path.stat().st_mtime_ns for path in rolled_files(log.path)}
    Retention(compress=kind).tidy(log.path)
    assert len(lines_in(tmp_path)) == 30
    for path in rolled_files(log.path):
        assert path.suffix in {".gz", ".zst"}
        assert path.stat().st_mtime_ns == ages[path.stem]


def test_no_thread_tidies_up_in_the_master_of_uwsgi(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file rolled there waits for the next process that rolls one."""
    begun: list[str] = []
    monkeypatch.setattr(threading.Thread, "start", lambda thread: begun.append(thread.name))
    monkeypatch.setitem(sys.modules, "uwsgi", SimpleNamespace(masterpid=os.getpid))
    log = RollingLog(tmp_path / "biz.log", max_bytes=10)
    assert log.write(b"line one\n") and log.write(b"line two\n")
    assert (begun, len(rolled_files(log.path))) == ([], 1)
    monkeypatch.setitem(sys.modules, "uwsgi", SimpleNamespace(masterpid=os.getppid))
    assert log.write(b"line three\n")
    assert begun == ["lookout-housekeeping"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_child_does_not_wait_for_the_tidying_of_its_parent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forked while a thread of the parent tidies up, it can do so at once."""
    parent, busy, released = os.getpid(), threading.Event(), threading.Event()

    def compress(retention: Retention, path: Path) -> None:
        if os.getpid() == parent:
            busy.set()
            released.wait(60)

    monkeypatch.setattr(Retention, "_compress_all", compress)
    Retention().rolled(tmp_path / "biz.log")
    assert busy.wait(10)
    child = os.fork()
    if child == 0:
        signal.alarm(10)  # which ends it
        Retention().tidy(tmp_path / "biz.log")
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    released.set()
    assert os.waitstatus_to_exitcode(status) == 0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("7", 7 * DAY), ("7D", 7 * DAY), ("0D1H", 3600.0), ("1D6H", 30 * 3600.0), ("2H", 7200.0)],
)
def test_reads_sofa_reserves(text: str, seconds: float) -> None:
    """Days and hours in SOFATracer's form, and hours alone, which it could not read."""
    assert reserve_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "D", "a week", "-1"])
def test_names_a_bad_reserve(text: str) -> None:
    """What is no reserve is refused with an example."""
    with pytest.raises(ValueError, match="1D6H"):
        reserve_seconds(text)


@pytest.mark.parametrize("pattern", ["", "always", "%%", "%Y/%m"])
def test_names_a_bad_pattern(pattern: str) -> None:
    """A pattern that never changes, or makes no file name, is refused."""
    with pytest.raises(ValueError, match="date pattern"):
        Rhythm(pattern)
