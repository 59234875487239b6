"""What the library does on Windows, as far as Linux can tell (see windows.py for how far)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path, PureWindowsPath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporters.retention import Retention
from exporters.rhythm import Rhythm
from exporters.rolling_log import RollingLog
from exporters.work import WORKS, Work, plain_code

from .test_rolling_log import Clock, lines_in

ROOT = Path(__file__).parents[2]

BEGIN = """
from tests.exporters.windows import pretend
pretend()
import sys
from pathlib import Path
directory = Path(sys.argv[1])
"""


def on_windows(code: str, *arguments: object) -> str:
    """Run ``code`` in a process like one on Windows; what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + code, *map(str, arguments)],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_everything_imports_and_counts(tmp_path: Path) -> None:
    """No module needs what only POSIX has; spans and metrics work, workers_dir is refused."""
    output = on_windows(
        """
import logging
logging.basicConfig(stream=sys.stdout, format="%(message)s")
import lookout_client as lookout
lookout.init("shop", collector="", log_dir=directory, workers_dir=str(directory / "w"),
             importers=("python", "process", "system"))
with lookout.start_span("op"):
    lookout.counter("orders").inc(2)
from lookout_client.scrape import Exposition
body = Exposition(lookout.REGISTRY).answer().body.decode()
assert "orders_total 2" in body and "process_cpu_time" in body, body
print(lookout.shutdown(5))
""",
        tmp_path,
    )
    assert "workers_dir ignored" in output and output.splitlines()[-1] == "True"
    (line,) = [line for path in tmp_path.glob("biz-digest.*.log") for line in lines(path)]
    assert line["name"] == "op"


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


ROLLS = """
import threading
from exporters.retention import Retention
from exporters.rolling_log import RollingLog
log = RollingLog(directory / "biz.log", max_bytes=100, retention=Retention(compress="gzip"))
for number in range(40):
    assert log.write(b"line %02d\\n" % number)
log.close()
for thread in threading.enumerate():
    if thread.name == "lookout-housekeeping":
        thread.join()
Retention(compress="gzip").tidy(log.path)
"""


def test_rolls_and_compresses_files_of_its_own(tmp_path: Path) -> None:
    """Each process has its own file, closed before it is renamed; no line is lost."""
    on_windows(ROLLS, tmp_path)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert len([name for name in names if name.endswith(".gz")]) == 3
    assert sorted(lines_in(tmp_path)) == [f"line {number:02d}" for number in range(40)]
    assert all(is_legal(name) for name in names)


def test_a_file_somebody_reads_is_written_on_and_rolled_later(tmp_path: Path) -> None:
    """Rolling that is refused loses no line, is told once, and happens when it can."""
    output = on_windows(
        """
import logging
logging.basicConfig(stream=sys.stdout, format="%(message)s")
from exporters.rolling_log import RollingLog
now = 1_750_000_000.0
log = RollingLog(directory / "biz.log", max_bytes=30, clock=lambda: now)
assert log.write(b"line number 00\\n")
with open(log.path, "rb"):
    for number in range(1, 6):
        assert log.write(b"line number %02d\\n" % number)
        now += 20
assert log.write(b"line number 06\\n")
print(len(list(directory.iterdir())))
""",
        tmp_path,
    )
    assert output.count("cannot roll") == 1
    assert output.splitlines()[-1] == "2"
    assert sorted(lines_in(tmp_path)) == [f"line number {number:02d}" for number in range(7)]


def test_a_period_ends_with_the_first_chance_to_roll(tmp_path: Path) -> None:
    """However often it was refused, and though what came since was written to the same file."""
    output = on_windows(
        """
import os, time
from exporters.rolling_log import RollingLog
now = time.mktime((2025, 6, 15, 23, 59, 50, 0, 0, -1))
log = RollingLog(directory / "biz.log", clock=lambda: now)
assert log.write(b"line number 00\\n")
os.utime(log.path, (now, now))
with open(log.path, "rb"):
    for number in range(1, 6):
        now += 20
        assert log.write(b"line number %02d\\n" % number)
        os.utime(log.path, (now, now))
now += 20
assert log.write(b"line number 06\\n")
print(log.path.read_bytes(), [path.name for path in directory.glob("*.2025-*")])
""",
        tmp_path,
    )
    written, rolled = output.rstrip("\n").split("\\n' ")
    assert written == "b'line number 06"
    assert rolled.endswith(".log.2025-06-15']")
    assert sorted(lines_in(tmp_path)) == [f"line number {number:02d}" for number in range(7)]


def test_what_waits_on_disk_outlives_the_process_and_leaves_nothing(tmp_path: Path) -> None:
    """Spilled spans are taken over by the next process, and the directory is empty then."""
    spill = """
from exporters.ledger import Ledger
from exporters.parcel import Parcel
from exporters.spill import Spill
kept = Spill(directory)
"""
    put = 'kept.put(Parcel(b"body", 3, "p1", "/x", {}))\nkept.close()\nprint("kept")'
    assert on_windows(spill + put, tmp_path) == "kept\n"
    take = """
assert kept.adopt() == 3
parcel, lost = kept.peek()
assert parcel.body == b"body" and not lost
kept.pop()
kept.close()
print("sent")
"""
    assert on_windows(spill + take, tmp_path) == "sent\n"
    assert list(tmp_path.iterdir()) == []


def test_logs_are_shipped(tmp_path: Path) -> None:
    """`lookout ship` follows files of each process, rolled and compressed, each span once."""
    output = on_windows(
        """
from collections import Counter
from exporters.ledger import Ledger
from exporters.logs import RollingLogs
from exporters.records import Resource
from exporters.retention import Retention
from exporters.shipping import Shipper
from tracer.pipeline import Pipeline
from tracer.tracer import Tracer

class Transport:
    seen = Counter()
    def encode(self, spans):
        self.seen.update(span.span_id for span in spans)
        return b"", 0
    def parcel(self, body):
        return body, "/", {}
    def deliver(self, parcel, ledger, timeout_s):
        return 0

spans = []
tracer = Tracer(Pipeline(spans.append, resource=Resource("shop")))
for _ in range(100):
    tracer.start_span("op").finish()
logs = RollingLogs(directory, max_bytes=4_000, retention=Retention(compress="gzip"))
logs.open(Ledger())
shipper = Shipper(directory, Transport(), directory / "state")
for start in range(0, 100, 10):
    logs.accept(spans[start : start + 10])
    if start % 30 == 0:
        shipper.run_once()
shipper.run_once()
assert set(Transport.seen.values()) == {1}, Transport.seen
print(len(Transport.seen))
""",
        tmp_path,
    )
    assert output == "100\n"


def test_files_of_ended_processes_go_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where each process has its own file, those of others go by age, and no other log's do."""
    clock = Clock()
    fresh, old = clock.now, clock.now - 30 * 86_400
    for name, when in {
        "biz.1.log": old, "biz.2.log": fresh, "biz.1.log.2020-01-01": old, "biz.3.log.gz": fresh,
        "biz.log.note": old, "biz.x.log": old, "bizarre.1.log": old,
    }.items():  # fmt: skip
        (tmp_path / name).write_bytes(b"x\n")
        os.utime(tmp_path / name, (when, when))
    log = RollingLog(tmp_path / "biz.log", shared=False, max_bytes=3, clock=clock,
                     retention=Retention(clock=clock, files=2))  # fmt: skip
    monkeypatch.setattr(Retention, "rolled", Retention.tidy)  # at once
    log.write(b"a\n")
    log.write(b"b\n")
    left = {path.name for path in tmp_path.iterdir()} - {log.path.name}
    mine = {name for name in left if name.startswith(f"{log.path.name}.")}
    assert left - mine == {"biz.2.log", "biz.log.note", "biz.x.log", "bizarre.1.log"} | (
        {"biz.3.log.gz"} & left
    )
    assert mine


RESERVED = '<>:"/\\|?*'


def is_legal(name: str) -> bool:
    """Whether Windows takes ``name`` for a file's, unchanged."""
    path = PureWindowsPath("C:/logs", name)
    return (
        path.name == name
        and path.parent == PureWindowsPath("C:/logs")
        and not path.is_reserved()
        and not any(letter in RESERVED or ord(letter) < 32 for letter in name)
        and name[-1] not in ". "
    )


DIRECTIVES = st.sampled_from([f"%{letter}" for letter in "aAbBcdHIjmMpSUwWxXyYZzDTRFGuVeknts"])
PATTERNS = st.lists(DIRECTIVES | st.text(max_size=3), max_size=6).map("".join)


@given(PATTERNS, st.integers(0, 4_102_444_800), st.sampled_from(WORKS))
def test_every_pattern_that_is_taken_makes_legal_names(
    pattern: str, moment: int, work: Work
) -> None:
    """A pattern is refused, or whatever it gives may end a file's name on Windows."""
    try:
        rhythm = Rhythm(pattern)
    except ValueError as problem:
        assert "date pattern" in str(problem)
        return
    suffix = rhythm.suffix(moment)
    for name in (f"{work.name}-digest.log", f"{work.name}-digest.4711.log"):
        assert is_legal(name + suffix), name + suffix
        assert is_legal(f"{name}{suffix}.3.gz")


@pytest.mark.parametrize("pattern", [".%H:%M", ".%T", ".%X", ".%D", ".%c", ".%Y.", ".%d ", ".%n%d"])
def test_patterns_with_names_windows_refuses_are_refused_everywhere(pattern: str) -> None:
    """A directory of logs can be copied to any system."""
    with pytest.raises(ValueError, match="date pattern"):
        Rhythm(pattern)


@pytest.mark.parametrize("name", ["", "a/b", "a:b", "..\\x", "nul\0", "tab\t"])
def test_a_kind_of_work_must_be_able_to_name_a_file(name: str) -> None:
    """A custom kind of work is refused where it is made, not where it is written."""
    with pytest.raises(ValueError, match="names its log files"):
        Work(name, (), (), plain_code, lambda code: True)


def test_the_process_is_named_legally() -> None:
    """Spill directories and files of one process carry names any system takes."""
    from exporters.ledger import Ledger

    assert is_legal(f"{Ledger().process}-{os.getpid()}")
    assert is_legal(f"biz-digest.{os.getpid()}.log{time.strftime('.%Y-%m-%d_%H')}")
