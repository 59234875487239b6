"""The collector destination against a real HTTP server: nothing lost, everything counted."""

from __future__ import annotations

import errno
import json
import logging
import shutil
import ssl
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from exporters.backoff import Backoff
from exporters.destination import Deadline
from exporters.http import HttpClient, Tls
from exporters.sender import Limits


def test_spans_arrive(rig: Any, receiver: Any, spans: Any) -> None:
    """Every span offered is at the collector after flush, once, in order."""
    lookout = rig(receiver.url)
    lookout.offer(spans(1000))
    assert lookout.flusher.flush(5)
    assert receiver.ids == list(range(1, 1001))
    assert (lookout.report.created, lookout.report.acknowledged) == (1000, 1000)


def test_request_is_what_the_protocol_says(rig: Any, receiver: Any, span: Any) -> None:
    """Path, content type, compression, suppression of tracing and the ledger's header."""
    lookout = rig(receiver.url, token="secret", headers={"X-Scope-OrgID": "acme"})
    lookout.offer([span(name="pay", kind=2)])
    assert lookout.flusher.flush(5)
    request = receiver.requests[0]
    assert request.path == "/api/v2/spans"
    assert request.headers["Content-Type"] == "application/json"
    assert request.headers["Content-Encoding"] in {"zstd", "gzip"}
    assert request.headers["b3"] == "0"
    assert request.headers["Authorization"] == "Bearer secret"
    assert request.headers["X-Scope-OrgID"] == "acme"
    assert json.loads(request.headers["X-Lookout-Ledger"]) == {
        "process": lookout.ledger.process,
        "service": "shop",
        "seq": 1,
        "created": 1,
        "sampled_out": 0,
        "dropped": {},
        "sent": 1,
    }


def test_spans_arrive_without_flush(
    rig: Any, receiver: Any, spans: Any, wait_until: Callable[..., None]
) -> None:
    """The threads start by themselves and send by themselves."""
    lookout = rig(receiver.url)
    lookout.offer(spans(10))
    wait_until(lambda: len(receiver.ids) == 10)


def test_shutdown_reports_the_final_ledger(rig: Any, receiver: Any, spans: Any) -> None:
    """The last request is an empty list whose header carries the final counts."""
    lookout = rig(receiver.url)
    lookout.offer(spans(3))
    lookout.ledger.sample_out()
    assert lookout.flusher.shutdown(5)
    last = receiver.requests[-1]
    assert last.json == []
    counts = json.loads(last.headers["X-Lookout-Ledger"])
    assert (counts["created"], counts["sent"], counts["sampled_out"]) == (4, 3, 1)


def test_batches_respect_count_and_bytes(rig: Any, receiver: Any, spans: Any, span: Any) -> None:
    """No parcel holds more spans or bytes than allowed, whatever comes in."""
    lookout = rig(receiver.url, Limits(batch_records=100, batch_bytes=4_000, linger_s=0.01))
    lookout.offer(spans(250))
    lookout.offer([span(span_id=251, tags={"blob": "x" * 5_000})])
    lookout.offer([span(span_id=252)])
    assert lookout.flusher.flush(5)
    assert sorted(receiver.ids) == [*range(1, 251), 252]
    assert all(len(request.body) <= 4_000 for request in receiver.requests)
    assert all(len(request.json) <= 100 for request in receiver.requests)
    assert lookout.report.dropped == {"too_large": 1}


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504, 401, 404])
def test_retries_what_may_pass(
    rig: Any, receiver: Any, spans: Any, status: int, wait_until: Callable[..., None]
) -> None:
    """A server that is busy, broken or not yet set up costs nothing but time."""
    receiver.answers = [status, status]
    lookout = rig(receiver.url)
    lookout.offer(spans(5))
    wait_until(lambda: receiver.ids == [1, 2, 3, 4, 5])
    assert lookout.flusher.flush(5)
    assert (lookout.report.sent, lookout.report.dropped) == (5, {})


@pytest.mark.parametrize("status", [400, 422])
def test_drops_what_is_refused(rig: Any, receiver: Any, spans: Any, status: int) -> None:
    """A batch the collector calls bad is counted as refused and not sent again."""
    receiver.answers = [status]
    lookout = rig(receiver.url, compression="gzip")
    lookout.offer(spans(5))
    assert lookout.flusher.flush(5)
    lookout.offer(spans(1))
    assert lookout.flusher.flush(5)
    assert receiver.ids == [1]
    assert (lookout.report.sent, lookout.report.dropped) == (1, {"refused": 5})


def test_splits_what_is_too_large_for_the_server(rig: Any, receiver: Any, spans: Any) -> None:
    """413 makes the batch smaller until it fits; only a single span too large is dropped."""
    receiver.answers = [413, 413, 413]
    lookout = rig(receiver.url)
    lookout.offer(spans(4))
    assert lookout.flusher.flush(5)
    assert receiver.ids == [2, 3, 4]
    assert lookout.report.dropped == {"too_large": 1}


@pytest.mark.parametrize("status", [415, 400])
def test_falls_back_to_gzip(rig: Any, receiver: Any, spans: Any, status: int) -> None:
    """A server that does not know zstd says so once and gets gzip from then on."""
    receiver.answers = [status]
    lookout = rig(receiver.url, compression="zstd")
    lookout.offer(spans(2))
    assert lookout.flusher.flush(5)
    lookout.offer(spans(1))
    assert lookout.flusher.flush(5)
    assert [r.headers["Content-Encoding"] for r in receiver.requests] == ["gzip", "gzip"]
    assert receiver.ids == [1, 2, 1]


def test_honours_retry_after(
    rig: Any, receiver: Any, spans: Any, wait_until: Callable[..., None]
) -> None:
    """A server that asks for a second gets it, though the own backoff is shorter."""
    receiver.answers = [(503, {"Retry-After": "1"})]
    lookout = rig(receiver.url)
    started = time.monotonic()
    lookout.offer(spans(1))
    wait_until(lambda: receiver.ids == [1])
    assert time.monotonic() - started >= 1.0


def test_fails_over_to_the_next_address(
    rig: Any, receiver: Any, spans: Any, closed_port: int
) -> None:
    """With several addresses the first that answers gets the spans."""
    lookout = rig([f"http://127.0.0.1:{closed_port}", receiver.url])
    lookout.offer(spans(3))
    assert lookout.flusher.flush(5)
    assert receiver.ids == [1, 2, 3]


def test_one_line_per_change_of_state(
    rig: Any,
    serve: Any,
    spans: Any,
    closed_port: int,
    caplog: Any,
    wait_until: Callable[..., None],
) -> None:
    """An outage says it began and that it is over, not every attempt in between."""
    caplog.set_level(logging.INFO, "lookout")
    lookout = rig(f"http://127.0.0.1:{closed_port}")
    lookout.offer(spans(2))
    wait_until(lambda: lookout.destination._backoff._failures > 4)
    receiver = serve(closed_port)
    wait_until(lambda: receiver.ids == [1, 2])
    wait_until(lambda: not lookout.destination.down)
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 2
    assert "collector is down" in lines[0]
    assert "collector is back" in lines[1]


@pytest.mark.parametrize(
    ("status", "line"),
    [(401, "refuses us"), (403, "refuses us"), (404, "refuses us"), (429, "is down")],
)
def test_a_refusal_is_no_outage(
    rig: Any, receiver: Any, spans: Any, status: int, line: str, caplog: Any, wait_until: Any
) -> None:
    """Who is told 401 looks at the token, not at the collector; also where it was down before."""
    caplog.set_level(logging.INFO, "lookout")
    receiver.answers = [503, status, 503, status]
    lookout = rig(receiver.url)
    lookout.offer(spans(2))
    wait_until(lambda: receiver.ids == [1, 2])
    wait_until(lambda: not lookout.destination.down)
    lines = [record.getMessage().partition(" (")[0] for record in caplog.records]
    states = ["is down", line] if line != "is down" else ["is down"]
    assert lines[:-1] == [f"collector {state}" for state in states]


def test_memory_is_bounded_while_down(rig: Any, spans: Any, closed_port: int) -> None:
    """Without a spill directory the oldest spans give way, counted."""
    limits = Limits(batch_records=10, memory_bytes=2_000, linger_s=0.01)
    lookout = rig(f"http://127.0.0.1:{closed_port}", limits, compression="none")
    lookout.offer(spans(100))
    assert not lookout.flusher.flush(2)
    report = lookout.report
    assert report.dropped["spill_full"] + report.in_flight == 100
    assert report.in_flight <= 10


def test_waiting_spans_are_counted_at_shutdown(rig: Any, spans: Any, closed_port: int) -> None:
    """Without a spill directory an exit while the collector is down is no silent loss."""
    lookout = rig(f"http://127.0.0.1:{closed_port}")
    lookout.offer(spans(7))
    assert not lookout.flusher.shutdown(1)
    report = lookout.report
    assert (report.dropped, report.in_flight) == ({"shutdown": 7}, 0)


def test_spill_survives_a_restart(
    rig: Any, serve: Any, spans: Any, closed_port: int, tmp_path: Path, wait_until: Any
) -> None:
    """What one process could not send, the next one does, under the first one's ledger."""
    url = f"http://127.0.0.1:{closed_port}"
    first = rig(url, spill=tmp_path)
    first.offer(spans(50))
    assert not first.flusher.shutdown(1)
    assert (first.report.in_flight, first.report.dropped) == (50, {})
    receiver = serve(closed_port)
    second = rig(url, spill=tmp_path)
    second.offer(spans(1))
    wait_until(lambda: len(receiver.ids) == 51)
    assert second.flusher.flush(5)
    assert receiver.ids == [*range(1, 51), 1]
    ledgers = [json.loads(request.headers["X-Lookout-Ledger"]) for request in receiver.requests]
    assert {each["process"] for each in ledgers} == {first.ledger.process, second.ledger.process}
    assert second.report.created == 1
    assert second.destination.account.replayed == 50
    second.flusher.shutdown(5)
    assert list(tmp_path.iterdir()) == []


def test_spill_replays_when_the_collector_is_back(
    rig: Any, serve: Any, spans: Any, closed_port: int, tmp_path: Path, wait_until: Any
) -> None:
    """Spans on disk come before newer ones, and none is lost or doubled."""
    lookout = rig(f"http://127.0.0.1:{closed_port}", spill=tmp_path)
    lookout.offer(spans(30))
    wait_until(lambda: list(tmp_path.glob("*/*.parcel")))
    receiver = serve(closed_port)
    wait_until(lambda: len(receiver.ids) == 30)
    assert receiver.ids == list(range(1, 31))
    assert lookout.flusher.flush(5)
    assert (lookout.report.sent, lookout.report.in_flight) == (30, 0)


def test_spill_is_bounded(rig: Any, spans: Any, closed_port: int, tmp_path: Path) -> None:
    """A full spill gives up the oldest parcels and counts them."""
    limits = Limits(batch_records=10, linger_s=0.01)
    lookout = rig(f"http://127.0.0.1:{closed_port}", limits, spill=tmp_path, spill_bytes=4_000)
    for _ in range(10):
        lookout.offer(spans(10))
        lookout.flusher.flush(1)
    lookout.flusher.shutdown(1)
    kept = sum(path.stat().st_size for path in tmp_path.glob("*/*.parcel"))
    assert 0 < kept <= 4_000
    waiting = sum(int(path.stem.rpartition("-")[2]) for path in tmp_path.glob("*/*.parcel"))
    assert 0 < waiting < 100
    assert (lookout.report.dropped, lookout.report.in_flight) == (
        {"spill_full": 100 - waiting},
        waiting,
    )


def test_nothing_is_dropped_while_an_attempt_hangs(
    rig: Any, receiver: Any, spans: Any, wait_until: Any
) -> None:
    """A collector that takes its time to answer costs no span: what comes meanwhile waits encoded,
    far beyond the queue."""
    receiver.answering.clear()
    lookout = rig(receiver.url, Limits(queue_records=100, batch_records=50, linger_s=0.01))
    lookout.offer(spans(1))
    wait_until(lambda: lookout.destination._attempting)
    for _ in range(40):
        lookout.destination.accept(spans(50))
    receiver.answering.set()
    assert lookout.flusher.flush(10)
    assert len(receiver.ids) == 2_001
    assert lookout.ledger.report("collector").dropped == {}


def test_what_memory_cannot_hold_goes_to_disk_before_the_destination_is_down(
    rig: Any, receiver: Any, spans: Any, wait_until: Any, tmp_path: Path
) -> None:
    """With a directory to wait in, nothing gives way to the bound of the memory."""
    receiver.answering.clear()
    limits = Limits(queue_records=100, batch_records=50, memory_bytes=3_000, linger_s=0.01)
    lookout = rig(receiver.url, limits, spill=tmp_path)
    lookout.offer(spans(1))
    wait_until(lambda: lookout.destination._attempting)
    while lookout.destination._backlog.has_room:
        lookout.destination.accept(spans(50))
    receiver.answering.set()
    assert lookout.flusher.flush(10)
    assert "spill_full" not in lookout.ledger.report("collector").dropped


def test_what_waits_encoded_while_an_attempt_hangs_is_bounded(
    rig: Any, receiver: Any, spans: Any, wait_until: Any
) -> None:
    """Beyond the memory of parcels the queue is full, and what does not fit is counted."""
    receiver.answering.clear()
    limits = Limits(queue_records=100, batch_records=50, memory_bytes=3_000, linger_s=0.01)
    lookout = rig(receiver.url, limits)
    lookout.offer(spans(1))
    wait_until(lambda: lookout.destination._attempting)
    for _ in range(100):
        lookout.destination.accept(spans(50))
    assert lookout.destination._backlog._bytes < 3_000 + 50 * 200
    assert lookout.ledger.report("collector").dropped["queue_full"] > 1_000
    receiver.answering.set()
    assert lookout.flusher.flush(10)
    taken = sum(lookout.ledger.report("collector").dropped.values()) + len(receiver.ids)
    assert taken == 5_001


def test_hanging_collector_does_not_hold_up_the_exit(rig: Any, receiver: Any, spans: Any) -> None:
    """Shutdown keeps its deadline when the collector takes requests and never answers."""
    receiver.answering.clear()
    lookout = rig(receiver.url)
    lookout.offer(spans(4))
    started = time.monotonic()
    assert not lookout.flusher.shutdown(0.5)
    assert time.monotonic() - started < 2.0
    report = lookout.report
    assert (report.dropped, report.in_flight) == ({"shutdown": 4}, 0)


def test_metrics_travel_the_same_way(rig: Any, receiver: Any) -> None:
    """post() sends any body, retries it, and leaves the ledger of spans alone."""
    receiver.answers = [503]
    lookout = rig(receiver.url)
    lookout.destination.post("/v1/metrics", b"{}", "application/json", {"X-Extra": "1"})
    lookout.destination.flush(Deadline(1))
    assert lookout.destination.flush(Deadline(5))
    request = receiver.requests[0]
    assert (request.path, request.body) == ("/v1/metrics", b"{}")
    assert request.headers["X-Extra"] == "1"
    assert lookout.report.created == 0


@pytest.mark.parametrize("url", ["", "localhost:9411", "ftp://x", "http://"])
def test_names_a_bad_address(url: str) -> None:
    """An address that is none is refused at once, with what was given."""
    with pytest.raises(ValueError, match="http://host:port"):
        HttpClient(url)


def test_damaged_spill_files_are_passed_over(
    rig: Any, serve: Any, spans: Any, closed_port: int, tmp_path: Path, wait_until: Any
) -> None:
    """A parcel cut short by a full disk costs itself, not those behind it."""
    url = f"http://127.0.0.1:{closed_port}"
    first = rig(url, Limits(batch_records=10, linger_s=60), spill=tmp_path)
    first.offer(spans(30))
    first.flusher.shutdown(1)
    parcels = sorted(tmp_path.glob("*/*-000010.parcel"))
    parcels[1].write_bytes(parcels[1].read_bytes()[:-20])
    receiver = serve(closed_port)
    second = rig(url, spill=tmp_path)
    second.offer(spans(1))
    wait_until(lambda: len(receiver.ids) == 21)
    assert receiver.ids == [*range(1, 11), *range(21, 31), 1]


@pytest.mark.parametrize("harm", ["cut", "removed"])
def test_parcels_that_spoil_on_disk_are_counted(
    rig: Any,
    serve: Any,
    spans: Any,
    closed_port: int,
    tmp_path: Path,
    wait_until: Any,
    assert_quiet: Any,
    harm: str,
) -> None:
    """Spans whose file was damaged or removed under us are drops with a reason, and balance."""
    limits = Limits(batch_records=10, linger_s=0.01)
    lookout = rig(f"http://127.0.0.1:{closed_port}", limits, spill=tmp_path)
    lookout.destination._backoff = Backoff(60, 60)  # the first failure is the only one
    lookout.offer(spans(30))
    wait_until(lambda: len(list(tmp_path.glob("*/*-000010.parcel"))) == 3)
    _, second, third = sorted(tmp_path.glob("*/*-000010.parcel"))
    for parcel in (second, third):
        parcel.write_bytes(parcel.read_bytes()[:-20]) if harm == "cut" else parcel.unlink()
    receiver = serve(closed_port)
    assert lookout.flusher.flush(5)
    assert receiver.ids == list(range(1, 11))
    assert lookout.report.dropped == {"spill_damaged": 20}
    assert_quiet(lookout.ledger, "collector")


def test_an_interrupted_flush_leaves_its_spans_waiting(
    rig: Any, receiver: Any, spans: Any, assert_quiet: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C in the middle of a request takes the spans back: sent once, counted once."""
    lookout = rig(receiver.url, Limits(linger_s=60))
    deliver = lookout.destination._transport.deliver
    interrupts = iter([KeyboardInterrupt()])

    def interrupted(*arguments: Any) -> int:
        for interrupt in interrupts:
            raise interrupt
        return int(deliver(*arguments))

    monkeypatch.setattr(lookout.destination._transport, "deliver", interrupted)
    lookout.destination.accept(spans(3))
    lookout.ledger.create(3)
    with pytest.raises(KeyboardInterrupt):
        lookout.destination.flush(Deadline(5))
    assert (lookout.report.sent, lookout.report.in_flight) == (0, 3)
    assert_quiet(lookout.ledger, "collector")
    assert lookout.destination.flush(Deadline(5))
    assert (lookout.report.sent, lookout.report.in_flight, receiver.ids) == (3, 0, [1, 2, 3])


def test_what_is_in_flight_is_somewhere(
    rig: Any, spans: Any, closed_port: int, assert_quiet: Any
) -> None:
    """Spans not accounted for otherwise wait: in the ring, in the queue or in parcels."""
    lookout = rig(f"http://127.0.0.1:{closed_port}", Limits(linger_s=0.01))
    lookout.offer(spans(100))
    lookout.flusher.flush(1)
    held = lookout.destination
    assert held._waiting + sum(parcel.count for parcel in held._backlog._parcels) == 100
    assert lookout.report.in_flight == 100
    assert_quiet(lookout.ledger, "collector")


def test_spill_of_a_living_process_is_left_alone(
    rig: Any, serve: Any, spans: Any, closed_port: int, tmp_path: Path, wait_until: Any
) -> None:
    """Two processes may share a spill directory; each sends its own."""
    from exporters.spill import Spill

    url = f"http://127.0.0.1:{closed_port}"
    living = rig(url, spill=tmp_path)
    living.offer(spans(5))
    wait_until(lambda: list(tmp_path.glob("*/*.parcel")))
    assert Spill(tmp_path).adopt() == 0


def test_a_spill_that_cannot_be_emptied_stops_nothing(
    rig: Any,
    serve: Any,
    spans: Any,
    closed_port: int,
    tmp_path: Path,
    wait_until: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A disk that becomes read-only costs no span: each is sent once, later ones too."""
    lookout = rig(f"http://127.0.0.1:{closed_port}", spill=tmp_path)
    lookout.offer(spans(5))
    wait_until(lambda: list(tmp_path.glob("*/*.parcel")))

    def read_only(path: Path, missing_ok: bool = False) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    monkeypatch.setattr(Path, "unlink", read_only)
    receiver = serve(closed_port)
    wait_until(lambda: len(receiver.ids) == 5)
    lookout.offer(spans(7))
    wait_until(lambda: len(receiver.ids) == 12)
    assert lookout.flusher.flush(5)
    assert (lookout.report.sent, lookout.report.in_flight) == (12, 0)


def test_a_spill_that_cannot_be_written_is_told_before_an_outage(
    rig: Any,
    receiver: Any,
    spans: Any,
    tmp_path: Path,
    wait_until: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The first span sent shows it, while everything is well; nothing is lost by it."""
    (tmp_path / "file").touch()
    lookout = rig(receiver.url, spill=tmp_path / "file" / "spill")
    lookout.offer(spans(5))
    assert lookout.flusher.flush(5)
    wait_until(lambda: "cannot keep spans on disk, keeping them in memory: " in caplog.text)
    assert lookout.report.sent == 5


def test_where_spans_wait_is_told_truly(
    rig: Any,
    spans: Any,
    closed_port: int,
    tmp_path: Path,
    wait_until: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Where the disk cannot be written, the line of the outage says that memory holds them."""
    (tmp_path / "file").touch()
    lookout = rig(f"http://127.0.0.1:{closed_port}", spill=tmp_path / "file" / "spill")
    lookout.offer(spans(5))
    wait_until(lambda: "is down" in caplog.text)
    assert "spans wait in memory" in caplog.text


def test_a_turn_that_fails_is_not_the_last(
    rig: Any,
    receiver: Any,
    spans: Any,
    wait_until: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The sending thread survives an error of its own, and says so."""
    monkeypatch.setattr("exporters.sender._AFTER_FAILURE_S", 0.01)
    lookout = rig(receiver.url)
    settle = lookout.destination._backlog.settle
    failures = iter([RuntimeError("unforeseen")])

    def fail_once(down: bool) -> None:
        for failure in failures:
            raise failure
        settle(down)

    monkeypatch.setattr(lookout.destination._backlog, "settle", fail_once)
    lookout.offer(spans(3))
    wait_until(lambda: len(receiver.ids) == 3)
    assert "unforeseen" in caplog.text


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1 and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed: no certificates")
    cert, key = folder / f"{name}.pem", folder / f"{name}.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-days", "1", "-keyout", str(key), "-out", str(cert), "-subj", f"/CN={name}",
         "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    return cert, key


def test_tls_with_certificates_on_both_sides(
    rig: Any, serve: Any, spans: Any, tmp_path: Path
) -> None:
    """Only the authority given is trusted, and the certificate given is shown, with the token."""
    server, client = certificate(tmp_path, "server"), certificate(tmp_path, "client")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(client[0]))
    context.load_cert_chain(*server)
    context.verify_mode = ssl.CERT_REQUIRED
    receiver = serve(tls=context)
    known = rig(receiver.url, token="s3cret", tls=Tls(server[0], *client))
    known.offer(spans(3))
    assert known.flusher.flush(10)
    assert receiver.ids == [1, 2, 3]
    assert receiver.requests[0].headers["Authorization"] == "Bearer s3cret"
    for tls in (Tls(), Tls(ca=server[0])):  # not trusted; trusted, but nobody known
        unknown = rig(receiver.url, tls=tls)
        unknown.offer(spans(1))
        assert not unknown.flusher.flush(1)
        assert receiver.url in unknown.destination.down
        # Before the server ends: Python forgets to close a socket that is reset as TLS begins.
        unknown.flusher.shutdown(5)
    assert len(receiver.ids) == 3


def test_the_scheme_of_an_address_is_the_same_in_capitals(
    rig: Any, serve: Any, spans: Any, tmp_path: Path
) -> None:
    """``HTTPS://`` trusts whom it was told to trust, as ``https://`` does."""
    server = certificate(tmp_path, "server")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*server)
    receiver = serve(tls=context)
    known = rig(receiver.url.replace("https:", "HTTPS:"), tls=Tls(server[0]))
    known.offer(spans(3))
    assert known.flusher.flush(10)
    assert receiver.ids == [1, 2, 3]
