"""From log files back to spans: to a collector, to Kafka, to a picture in the terminal."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from exporters.backoff import Backoff
from exporters.destination import Deadline
from exporters.digest import DelimitedDigest
from exporters.digest_reader import LoggedSpan, fnv_1a, read_line
from exporters.follow import LogDirectory, Positions
from exporters.http import HttpClient
from exporters.json_digest import JsonDigest
from exporters.ledger import Ledger
from exporters.logs import RollingLogs
from exporters.records import EventRecord, LinkRecord, Resource
from exporters.retention import Retention
from exporters.rolling_log import RollingLog
from exporters.shipping import Shipper, spans_of
from exporters.waterfall import rows
from exporters.work import BIZ, HTTP_SERVER, work_of
from exporters.zipkin import ZipkinTransport

ROOT = Path(__file__).parents[2]


def write(directory: Path, records: list[Any], **options: Any) -> None:
    logs = RollingLogs(directory, stats=False, self_log=False, **options)
    logs.open(Ledger())
    logs.accept(records)
    logs.shutdown(Deadline(1))


def shipper(directory: Path, url: str, **options: Any) -> Shipper:
    transport = ZipkinTransport(HttpClient(url), "gzip", ledger=False)
    made = Shipper(directory, transport, directory / ".state", **options)
    made._backoff = Backoff(0.02, 0.05)
    return made


def test_lines_give_the_span_back(span: Any) -> None:
    """What a JSON digest line says is the span, to the microsecond."""
    record = span(
        kind=2,
        parent_id=7,
        start_ns=1_700_000_000_123_456_000,
        duration_ns=12_345_000,
        tags={"s": "x", "i": 1, "f": 1.5, "b": True, "l": ["a"]},
        events=[EventRecord(1_000_000, "retry", {"n": 1}), EventRecord(2_000_000, "done", None)],
        links=[LinkRecord(1, 2, "a=b", {"k": "v"})],
        status=2,
        status_text="no",
        scope="lib",
        tracestate="v=1",
        flags=9,
        resource=Resource("shop", {"zone": "a"}),
    )
    back = read_line(JsonDigest().encode(work_of(record), [record]))
    assert back is not None
    for name in LoggedSpan.__slots__:
        assert getattr(back, name) == getattr(record, name), name


@pytest.mark.parametrize(
    "line", [b"", b"\n", b'{"half', b"{}\n", b"a,b\r\n", b"\xff\xfe\n", b'{"id":"x"}\n', b"[]\n"]
)
def test_what_is_no_digest_line_is_none(line: bytes) -> None:
    """Cut, foreign or damaged lines are passed over."""
    assert read_line(line) is None


def test_sofatracers_own_lines_are_understood() -> None:
    """A line of the Java library, which knows neither hex ids nor exact times."""
    line = (
        b'{"time":"2026-11-21 01:44:06.785","local.app":"app",'
        b'"traceId":"0a0fe8801538051482054100133277","spanId":"0.1","span.kind":"client",'
        b'"result.code":"200","current.thread.name":"main","time.cost.milliseconds":"7ms",'
        b'"request.url":"http://h/s","method":"GET","req.size.bytes":-1,"sys.baggage":"",'
        b'"biz.baggage":"mark=T&"}\r\n'
    )
    span = read_line(line)
    assert span is not None
    assert span.trace_id == 0x0A0FE8801538051482054100133277
    assert (span.span_id, span.parent_id) == (0x4E18DD181D0A2066, 0xAF63AD4C86019CAF)
    assert (span.name, span.kind, span.duration_ns) == ("http://h/s", 2, 7_000_000)
    assert span.resource.service_name == "app"
    assert span.tags == {
        "request.url": "http://h/s",
        "method": "GET",
        "req.size.bytes": -1,
        "result.code": "200",
    }


def test_delimited_lines_are_understood(span: Any) -> None:
    """Common fields and tags come back from the delimited form, escapes undone."""
    record = span(tags={"k,1": "a=b&c", "n": 5})
    back = read_line(DelimitedDigest().encode(BIZ, [record]))
    assert back is not None
    assert (back.name, back.rpc_id, back.trace_id) == (record.name, "0.1", record.trace_id)
    assert back.tags == {"field.1": "get /basket", "k,1": "a=b&c", "n": "5", "result.code": "00"}
    http = read_line(DelimitedDigest().encode(HTTP_SERVER, [span(kind=1)]))
    assert http is not None and http.kind == 1


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0xAF63AD4C86019CAF),
        ("0.1", 0x4E18DD181D0A2066),
        ("0.1.1", 0xB1ECC5B0E1CF206B),
        ("0.1.2", 0xB1ECC6B0E1CF221E),
        ("0.2", 0x4E18DC181D0A1EB3),
    ],
)
def test_fnv_vectors(text: str, value: int) -> None:
    """The hash SOFATracer tells Zipkin."""
    assert fnv_1a(text) == value


def test_ships_everything_once(tmp_path: Path, receiver: Any, spans: Any) -> None:
    """All lines of all files arrive; a second look sends nothing."""
    write(tmp_path, spans(300))
    ship = shipper(tmp_path, receiver.url)
    assert ship.run_once() == 300
    assert ship.run_once() == 0
    write(tmp_path, spans(5))
    assert ship.run_once() == 5
    assert receiver.ids == [*range(1, 301), *range(1, 6)]


def test_goes_on_after_a_restart(tmp_path: Path, receiver: Any, spans: Any) -> None:
    """A new process starts where the old one stopped."""
    write(tmp_path, spans(10))
    shipper(tmp_path, receiver.url).run_once()
    write(tmp_path, spans(3))
    assert shipper(tmp_path, receiver.url).run_once() == 3


@pytest.mark.parametrize("compress", ["none", "gzip", "zstd"])
def test_follows_rolling_and_compression(
    tmp_path: Path, receiver: Any, span: Any, compress: Any
) -> None:
    """Files rolled and compressed between two looks are neither lost nor read again."""
    if compress == "zstd":
        pytest.importorskip("cramjam")
    ship = shipper(tmp_path, receiver.url)
    retention = Retention(compress=compress)
    log = RollingLog(tmp_path / "biz-digest.log", max_bytes=5_000)
    digest = JsonDigest()
    for number in range(1, 201):
        log.write(digest.encode(BIZ, [span(span_id=number)]))
        if number % 7 == 0:
            ship.run_once()
        if number % 20 == 0:
            retention.tidy(log.path)
    ship.run_once()
    assert sorted(receiver.ids) == list(range(1, 201))
    assert shipper(tmp_path, receiver.url).run_once() == 0


def test_ships_while_processes_write_and_roll(tmp_path: Path, receiver: Any, span: Any) -> None:
    """A shipper beside a writer that rolls all the time misses nothing."""
    ship = shipper(tmp_path, receiver.url)
    log = RollingLog(
        tmp_path / "biz-digest.log", max_bytes=20_000, retention=Retention(compress="gzip")
    )
    runner = threading.Thread(target=ship.run, args=(0.001,))
    runner.start()
    digest = JsonDigest()
    for number in range(1, 2001):
        log.write(digest.encode(BIZ, [span(span_id=number)]))
    log.close()
    ship.stop()
    runner.join(20)
    shipper(tmp_path, receiver.url).run_once()
    assert sorted(set(receiver.ids)) == list(range(1, 2001))


def test_a_file_compressed_while_others_are_read_is_not_left_out(tmp_path: Path, span: Any) -> None:
    """One look has what was rolled before it, also where a file gets another name meanwhile."""
    first, second = tmp_path / "biz-digest.log.1", tmp_path / "biz-digest.log.2"
    for rolled, numbers in ((first, range(1, 11)), (second, range(11, 21))):
        write(tmp_path, [span(span_id=number) for number in numbers])
        (tmp_path / "biz-digest.log").rename(rolled)
    os.utime(first, (1, 1))
    logs, positions = LogDirectory(tmp_path), Positions(tmp_path / ".state")
    found: list[bytes] = []
    for piece in logs.unread(positions):
        found += piece.lines
        if second.exists():
            second.with_name(second.name + ".gz").write_bytes(gzip.compress(second.read_bytes()))
            second.unlink()
    assert len(set(found)) == len(found) == 20


def test_a_trace_is_read_from_a_file_once(tmp_path: Path, span: Any) -> None:
    """Also while the file stands beside its compressed form."""
    write(tmp_path, [span(span_id=number) for number in range(1, 4)])
    log = tmp_path / "biz-digest.log"
    (tmp_path / "biz-digest.log.1.gz").write_bytes(gzip.compress(log.read_bytes()))
    found = list(spans_of(tmp_path, span(span_id=1).trace_id))
    assert sorted(one.span_id for one in found) == [1, 2, 3]


def test_cut_lines_are_skipped_and_unfinished_ones_waited_for(
    tmp_path: Path, receiver: Any, span: Any
) -> None:
    """A line without its end is not read until it has one; damage costs only itself."""
    line = JsonDigest().encode(BIZ, [span(span_id=1)])
    other = JsonDigest().encode(BIZ, [span(span_id=2)])
    path = tmp_path / "biz-digest.log"
    path.write_bytes(line + b'{"cut": \n' + other[:50])
    ship = shipper(tmp_path, receiver.url)
    assert ship.run_once() == 1
    with open(path, "ab") as file:
        file.write(other[50:])
    assert ship.run_once() == 1
    assert receiver.ids == [1, 2]
    assert ship.shipped.skipped == 1


def test_waits_for_a_collector_that_is_down(
    tmp_path: Path, serve: Any, spans: Any, closed_port: int, wait_until: Any
) -> None:
    """Positions move only after the collector has taken the spans."""
    write(tmp_path, spans(20))
    ship = shipper(tmp_path, f"http://127.0.0.1:{closed_port}")
    runner = threading.Thread(target=ship.run_once)
    runner.start()
    wait_until(lambda: ship.trouble)
    assert Positions(tmp_path / ".state")._offsets == {}
    receiver = serve(closed_port)
    runner.join(20)
    assert receiver.ids == list(range(1, 21))


def test_refused_spans_do_not_stop_the_rest(tmp_path: Path, receiver: Any, spans: Any) -> None:
    """A batch the collector calls bad is counted; too large ones are split."""
    write(tmp_path, spans(4))
    receiver.answers = [413, 400]
    ship = shipper(tmp_path, receiver.url)
    assert ship.run_once() == 2
    assert (ship.shipped.spans, ship.shipped.refused) == (2, 2)


def test_ship_command(tmp_path: Path, receiver: Any, spans: Any) -> None:
    """lookout ship DIR --once sends what is there and says what it did."""
    from lookout_server.commands.ship import command

    write(tmp_path, spans(12))
    result = CliRunner().invoke(
        command, [str(tmp_path), "--to", receiver.url, "--once", "--json", "--tenant", "acme"]
    )
    assert result.exit_code == 0, result.output
    assert json.loads(result.output) == {"spans": 12, "skipped_lines": 0, "refused": 0}
    assert receiver.requests[0].headers["X-Scope-OrgID"] == "acme"
    assert (tmp_path / ".lookout-ship.json").exists()


def test_ship_once_gives_up(
    tmp_path: Path, serve: Any, spans: Any, closed_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With nobody to take the spans it says why, ends with status 1, and the next run sends all."""
    from lookout_server.commands.ship import command

    monkeypatch.setattr(Backoff, "failed", lambda self: 0.01)
    write(tmp_path, spans(3))
    arguments = [str(tmp_path), "--to", f"http://127.0.0.1:{closed_port}", "--once"]
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 1
    assert result.stdout == "shipped 0 spans, skipped 0 lines, 0 spans refused\n"
    first, last = result.stderr.splitlines()
    assert first.startswith(f"lookout: http://127.0.0.1:{closed_port}: ")
    assert first.endswith("; trying again")
    assert "gave up after 5 attempts" in last
    receiver = serve(closed_port)
    assert CliRunner().invoke(command, arguments).exit_code == 0
    assert receiver.ids == [1, 2, 3]


def test_ship_says_that_there_is_nothing_to_ship(tmp_path: Path, receiver: Any) -> None:
    """A directory without digest logs is probably the wrong one."""
    from lookout_server.commands.ship import command

    arguments = [str(tmp_path), "--to", receiver.url, "--once"]
    result = CliRunner().invoke(command, arguments)
    assert (result.exit_code, result.stderr) == (0, f"no digest logs in {tmp_path}\n")


def test_one_span_is_shipped(tmp_path: Path, receiver: Any, spans: Any) -> None:
    """One span is no "1 spans", and of a directory with logs there is nothing to say."""
    from lookout_server.commands.ship import command

    write(tmp_path, spans(1))
    result = CliRunner().invoke(command, [str(tmp_path), "--to", receiver.url, "--once"])
    assert result.stdout == "shipped 1 span, skipped 0 lines, 0 spans refused\n"
    assert result.stderr == ""


def test_kafka_that_is_down_is_told_once(tmp_path: Path, spans: Any, closed_port: int) -> None:
    """The command's own line names the error once; those of aiokafka are not printed beside it."""
    pytest.importorskip("aiokafka")
    write(tmp_path, spans(1))
    code = (
        "from exporters.backoff import Backoff; Backoff.failed = lambda self: 0.01\n"
        "from lookout_server.commands.ship import command; command()"
    )
    to = f"kafka://127.0.0.1:{closed_port}/topic"
    result = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), "--to", to, "--once"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 1
    first, last = result.stderr.splitlines()
    assert first.startswith("lookout: KafkaConnectionError")
    assert "gave up after 5 attempts" in last
    assert first.count("KafkaConnectionError") == last.count("KafkaConnectionError") == 1


def test_ship_command_names_what_is_wrong(tmp_path: Path) -> None:
    """A bad address or a foreign state file is one line, not a traceback."""
    from lookout_server.commands.ship import command

    result = CliRunner().invoke(command, [str(tmp_path), "--to", "collector:9411"])
    assert result.exit_code == 1
    assert "http://host:port" in result.output
    state = tmp_path / "state"
    state.write_text("not json")
    result = CliRunner().invoke(command, [str(tmp_path), "--state", str(state)])
    assert "not a state file" in result.output


def test_ship_ends_on_sigterm(tmp_path: Path, receiver: Any, spans: Any, wait_until: Any) -> None:
    """The running command says that it follows the files, does, and ends cleanly when told to."""
    write(tmp_path, spans(5))
    code = "import sys; from lookout_server.commands.ship import command; command()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path), "--to", receiver.url, "--poll", "0.05"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        wait_until(lambda: len(receiver.ids) == 5, 20)
        write(tmp_path, spans(2))
        wait_until(lambda: len(receiver.ids) == 7, 20)
    finally:
        os.kill(process.pid, signal.SIGTERM)
        output, said = process.communicate(timeout=20)
    assert process.returncode == 0
    assert b"shipped 7 spans" in output
    assert said.decode() == (
        f"following {tmp_path}, sending to {receiver.url}; "
        "Ctrl-C ends, --once sends what is there and stops\n"
    )


@pytest.fixture
def trace(span: Any) -> list[Any]:
    """A trace of two services, one span failed, one of a parent that is not there."""
    ms = 1_000_000
    start = 1_700_000_000_000_000_000
    stock = Resource("stock")
    return [
        span(span_id=1, kind=1, name="GET /basket", start_ns=start, duration_ns=100 * ms),
        span(span_id=2, parent_id=1, kind=2, name="GET", start_ns=start + 10 * ms,
             duration_ns=50 * ms),
        span(span_id=3, parent_id=2, kind=1, name="items\x1b[31m", start_ns=start + 20 * ms,
             duration_ns=20 * ms, status=2, status_text="out of stock", resource=stock),
        span(span_id=4, parent_id=99, name="orphan", start_ns=start + 90 * ms, duration_ns=ms),
    ]  # fmt: skip


def test_trace_command_draws_the_waterfall(tmp_path: Path, trace: list[Any]) -> None:
    """Order, depth, times, errors and missing parents of one trace, from compressed logs too."""
    from lookout_server.commands.logs import command

    write(tmp_path, trace[:2])
    RollingLog(tmp_path / "http-server-digest.log").close()
    os.rename(tmp_path / "biz-digest.log", tmp_path / "biz-digest.log.2026-01-01")
    Retention(reserve="9999", compress="gzip").tidy(tmp_path / "biz-digest.log")
    write(tmp_path, [*trace[2:], *[type(trace[0])(trace_id=5, span_id=n) for n in range(3)]])
    wanted = "af7651916cd43dd8448eb211c80319c"
    result = CliRunner().invoke(command, ["trace", wanted, str(tmp_path), "--width", "100"])
    assert result.exit_code == 0, result.output
    head, *lines = result.output.splitlines()
    assert head == "0af7651916cd43dd8448eb211c80319c  4 spans  2 services  100.0ms"
    assert [line.split("  ·")[0].split("  ━")[0].rstrip() for line in lines] == [
        "shop GET /basket",
        "  shop GET",
        "    stock items\\x1b[31m",
        "shop orphan",
    ]
    assert "100.0ms" in lines[0] and "━" * 30 in lines[0]
    assert lines[2].endswith("ERROR out of stock")
    assert "parent 0000000000000063 is not in these logs" in lines[3]


def test_trace_command_as_json(tmp_path: Path, trace: list[Any]) -> None:
    """The same spans as Zipkin v2 JSON."""
    from lookout_server.commands.logs import command

    write(tmp_path, trace)
    result = CliRunner().invoke(
        command, ["trace", "0af7651916cd43dd8448eb211c80319c", str(tmp_path), "--json"]
    )
    assert {item["id"][-1] for item in json.loads(result.output)} == {"1", "2", "3", "4"}


def test_trace_command_says_when_there_is_none(tmp_path: Path) -> None:
    """An unknown trace and a text that is no id are told apart."""
    from lookout_server.commands.logs import command

    unknown = CliRunner().invoke(command, ["trace", "abc", str(tmp_path)])
    assert (unknown.exit_code, "no span of trace abc" in unknown.output) == (1, True)
    nonsense = CliRunner().invoke(command, ["trace", "xyz", str(tmp_path)])
    assert (nonsense.exit_code, "32 hex digits" in nonsense.output) == (2, True)


def test_a_circle_of_parents_is_drawn_too(span: Any) -> None:
    """Damaged data cannot make the picture endless or leave spans out."""
    circle = [span(span_id=a, parent_id=b) for a, b in ((1, 2), (2, 1), (3, 3))]
    assert len(rows(circle)) == 3


def test_both_halves_of_a_shared_span_are_drawn(span: Any) -> None:
    """The server's half stands below the client's, though both have one id."""
    start = time.time_ns()
    client = span(kind=2, name="call", start_ns=start, duration_ns=1000)
    server = span(kind=1, name="serve", start_ns=start + 10, duration_ns=500, flags=5)
    assert [row.label.strip() for row in rows([server, client])] == ["shop call", "shop serve"]
