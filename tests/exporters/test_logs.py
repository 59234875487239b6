"""The directory of logs as a destination behind the flusher."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from exporters.flusher import Flusher
from exporters.ledger import Ledger
from exporters.logs import RollingLogs
from exporters.memory import MemoryDestination
from exporters.records import EventRecord
from exporters.ring import Ring
from exporters.rolling_log import RollingLog


class Rig:
    """A ring, a flusher and one directory of logs."""

    def __init__(self, directory: Path, **options: Any) -> None:
        self.directory = directory
        self.ledger = Ledger("shop")
        self.logs = RollingLogs(directory, **options)
        self.ring: Ring[Any] = Ring(4096)
        self.flusher = Flusher(self.ring, [self.logs], ledger=self.ledger)

    def write(self, *spans: Any) -> None:
        for span in spans:
            self.ring.offer(span)
        assert self.flusher.flush(5)

    def lines(self, name: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text(name).splitlines()]

    def text(self, name: str) -> str:
        return (self.directory / name).read_text()


@pytest.fixture
def rig(tmp_path: Path) -> Any:
    made: list[Rig] = []

    def make(**options: Any) -> Rig:
        made.append(Rig(tmp_path / "logs", **options))
        return made[-1]

    yield make
    for each in made:
        each.flusher.shutdown(1)


def baggage(**items: str) -> Any:
    return SimpleNamespace(biz=items, sys={})


def test_one_file_per_kind_of_work(rig: Any, span: Any) -> None:
    """Each span is in the digest of its kind of work and nowhere else."""
    logs = rig()
    logs.write(
        span(span_id=1, kind=1, tags={"http.request.method": "GET"}),
        span(span_id=2, kind=2, tags={"db.system": "postgresql"}),
        span(span_id=3),
        span(span_id=4, kind=3),
    )
    for name, number in [("http-server", 1), ("sql", 2), ("biz", 3), ("mq-send", 4)]:
        assert [int(x["id"], 16) for x in logs.lines(f"{name}-digest.log")] == [number]
    assert logs.ledger.report("logs").balanced
    assert logs.ledger.report("logs").acknowledged == 4


def test_a_turn_is_one_write_for_each_file(
    rig: Any, spans: Any, span: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many spans a turn has, each digest is written once, up to a megabyte at a time."""
    written: list[tuple[str, int]] = []
    write = RollingLog.write

    def counted(self: RollingLog, lines: bytes) -> bool:
        written.append((self.path.name, len(lines)))
        return write(self, lines)

    monkeypatch.setattr(RollingLog, "write", counted)
    logs = rig(stats=False)
    logs.logs.accept([*spans(1_000), *[span(kind=1, tags={"http.route": "/"})] * 500])
    assert sorted(name for name, _ in written) == ["biz-digest.log", "http-server-digest.log"]
    written.clear()
    logs.logs.accept([span(tags={"blob": "x" * 1_000})] * 2_000)
    assert len(written) == 4 and all(size <= 1_000_000 for _, size in written)
    assert len(logs.lines("biz-digest.log")) == 3_000


def test_load_test_traffic_goes_to_the_shadow(rig: Any, span: Any) -> None:
    """Spans marked as load test leave the real logs and statistics alone."""
    logs = rig()
    logs.write(span(span_id=1), span(span_id=2, baggage=baggage(mark="T")))
    logs.logs.write_stats()
    assert [x["id"][-1] for x in logs.lines("biz-digest.log")] == ["1"]
    assert [x["id"][-1] for x in logs.lines("shadow/biz-digest.log")] == ["2"]
    assert logs.lines("shadow/biz-digest.log")[0]["biz.baggage"] == "mark=T&"
    assert [x["load.test"] for x in logs.lines("biz-stat.log")] == ["F"]
    assert [x["load.test"] for x in logs.lines("shadow/biz-stat.log")] == ["T"]


def test_statistics_count_every_span(rig: Any, span: Any) -> None:
    """Also those the sampler turned down, which get no digest line."""
    logs = rig()
    logs.write(*[span(flags=n % 2, duration_ns=2_000_000) for n in range(10)])
    logs.logs.write_stats()
    assert len(logs.lines("biz-digest.log")) == 5
    (line,) = logs.lines("biz-stat.log")
    assert list(line)[:6] == [
        "time",
        "stat.key",
        "count",
        "total.cost.milliseconds",
        "success",
        "load.test",
    ]
    assert line["stat.key"] == {"local.app": "shop", "method": "get /basket"}
    assert (line["count"], line["total.cost.milliseconds"], line["success"]) == (10, 20, "Y")
    report = logs.ledger.report("logs")
    assert report.balanced
    assert (report.created, report.sampled_out, report.sent) == (10, 5, 5)


def test_statistics_tell_quantiles(rig: Any, span: Any) -> None:
    """Median, 99th percentile and maximum are within one percent."""
    logs = rig()
    logs.write(*[span(duration_ns=n * 1_000_000) for n in range(1, 1001)])
    logs.logs.write_stats()
    (line,) = logs.lines("biz-stat.log")
    assert line["p50.milliseconds"] == pytest.approx(500, rel=0.0101)
    assert line["p99.milliseconds"] == pytest.approx(990, rel=0.0101)
    assert line["max.milliseconds"] == 1000


def test_statistics_keys_are_bounded(rig: Any, span: Any) -> None:
    """Beyond the limit of keys all others are counted together: no span is left out."""
    logs = rig(stat_keys=3)
    logs.write(*[span(name=f"op {n}") for n in range(10)])
    logs.logs.write_stats()
    counts = {x["stat.key"]["method"]: x["count"] for x in logs.lines("biz-stat.log")}
    assert counts == {"op 0": 1, "op 1": 1, "op 2": 1, "<other>": 7}


def test_statistics_of_the_last_minute_are_written_at_shutdown(rig: Any, span: Any) -> None:
    """The unfinished period is not lost."""
    logs = rig()
    logs.write(span())
    logs.flusher.shutdown(5)
    assert logs.lines("biz-stat.log")[0]["count"] == 1


def test_delimited_statistics_are_sofas(rig: Any, span: Any) -> None:
    """Time, keys, count, total, Y or N, load test; the percentiles come last."""
    logs = rig(format="delimited")
    tags = {"http.request.method": "GET", "http.route": "/b/{id}"}
    logs.write(*[span(kind=1, tags={**tags, "http.response.status_code": 200})] * 5)
    logs.logs.write_stats()
    assert logs.text("http-server-stat.log").split(",")[1:8] == [
        "shop", "/b/{id}", "GET", "5", "61", "Y", "F",
    ]  # fmt: skip


def test_failed_spans_are_in_the_error_log(rig: Any, span: Any) -> None:
    """With type, message and stack of the exception, on one line."""
    logs = rig()
    facts = {
        "exception.type": "ValueError",
        "exception.message": "no, really",
        "exception.stacktrace": "Traceback\n  line 1\n",
    }
    logs.write(span(status=2, events=[EventRecord(1, "exception", facts)]), span())
    (line,) = logs.lines("middleware_error.log")
    assert (line["error.type"], line["error.message"]) == ("ValueError", "no, really")
    assert line["stack"] == facts["exception.stacktrace"]


def test_profile_events_are_in_the_profile_log(rig: Any, span: Any) -> None:
    """An event named "profile" is one line with its protocol and message."""
    logs = rig(profile=True)
    logs.write(span(events=[EventRecord(1, "profile", {"protocol": "bolt", "message": "slow"})]))
    (line,) = logs.lines("rpc-profile.log")
    assert (line["protocol"], line["message"]) == ("bolt", "slow")


def test_self_log_tells_drops_and_failures(rig: Any, span: Any) -> None:
    """What the library warns of, and each change of the ledger, with its reasons."""
    logs = rig()
    logging.getLogger("lookout").warning("collector is down")
    for _ in range(5000):
        logs.ring.offer(span())
    logs.flusher.flush(5)
    logs.logs.write_stats()
    logs.logs.write_stats()
    lines = logs.text("tracer-self.log").splitlines()
    assert "[WARN]  collector is down" in lines[0]
    assert sum("ledger created=5000" in line for line in lines) == 1
    dropped = logs.ring.dropped
    if dropped:
        assert f"ring_full={dropped}" in lines[-1]


def test_the_last_line_of_the_self_log_is_the_final_account(rig: Any, span: Any) -> None:
    """What waited when it was last told has been written by the end, and then nothing waits."""
    logs = rig()
    for _ in range(20):
        logs.ring.offer(span())
    logs.flusher.shutdown(5)  # tells of the ledger before and after it flushes
    told = [line for line in logs.text("tracer-self.log").splitlines() if "ledger" in line]
    assert "logs.sent=20 logs.in_flight=0" in told[-1]
    assert len(set(told)) == len(told)


def test_custom_encoder_and_works(rig: Any, span: Any) -> None:
    """An own format is one small class, an own file one function."""
    from dataclasses import replace

    from exporters.work import BIZ

    class Names:
        def encode(self, work: Any, records: Any) -> bytes:
            return b"".join(f"{work.name} {r.name}\n".encode() for r in records)

    jobs = replace(BIZ, name="jobs")
    logs = rig(encoder=Names(), works=lambda record: jobs)
    logs.write(span(name="nightly"))
    assert logs.text("jobs-digest.log") == "jobs nightly\n"


def test_digest_can_be_off(rig: Any, span: Any) -> None:
    """Statistics alone: no digest file is made."""
    logs = rig(digest=False)
    logs.write(span())
    logs.logs.write_stats()
    assert {path.name for path in logs.directory.iterdir()} == {"biz-stat.log", "tracer-self.log"}


def test_unwritable_logs_are_counted(tmp_path: Path, span: Any) -> None:
    """Lines that cannot be written are drops with a reason, and other destinations get theirs."""
    (tmp_path / "logs").write_text("a file, not a directory")
    ledger = Ledger("shop")
    memory = MemoryDestination()
    ring: Ring[Any] = Ring(64)
    logs = RollingLogs(tmp_path / "logs")
    flusher = Flusher(ring, [logs, memory], ledger=ledger)
    ring.offer(span())
    flusher.shutdown(5)
    assert ledger.report("logs").dropped == {"unwritable": 1}
    assert ledger.report("logs").balanced
    assert len(memory.spans) == 1


def test_what_fails_for_one_file_costs_no_other(rig: Any, span: Any, assert_quiet: Any) -> None:
    """An encoder that raises drops its group; what other groups wrote is counted once."""

    class Picky:
        def encode(self, work: Any, records: Any) -> bytes:
            if work.name == "http-server":
                raise RuntimeError("not these")
            return b"line\n" * len(records)

    logs = rig(encoder=Picky())
    logs.write(span(), span(), span(kind=1, tags={"http.request.method": "GET"}), span())
    report = logs.ledger.report("logs")
    assert (report.created, report.sent, report.in_flight) == (4, 3, 0)
    assert report.dropped == {"destination_failed": 1}
    assert logs.text("biz-digest.log") == "line\n" * 3
    assert_quiet(logs.ledger, "logs")


def test_spans_nobody_can_sort_are_counted(rig: Any, span: Any) -> None:
    """A function that cannot tell a span's kind of work costs those spans, counted once."""
    logs = rig(works=lambda record: 1 // 0)
    logs.write(span(), span())
    report = logs.ledger.report("logs")
    assert report.dropped == {"destination_failed": 2}
    assert (report.created, report.in_flight) == (2, 0)


def test_names_a_bad_format(tmp_path: Path) -> None:
    """An unknown format is refused, with those there are."""
    with pytest.raises(ValueError, match="json or delimited, not 'csv'"):
        RollingLogs(tmp_path, format="csv")  # type: ignore[arg-type]
