"""SOFALookout's protocol on the wire: its cases B1 to B7, against a gateway that records."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import cramjam
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lookout_client as lookout
from exporters.destination import Deadline
from exporters.parcel import Parcel, Unavailable
from lookout_client import Registry
from lookout_client.pull import PullExporter, PullServer, Slots
from lookout_client.push.gateway import GatewayTransport, ReportFilter, base_url
from lookout_client.push.lines import SEPARATOR, iso_seconds, line
from lookout_client.push.lookout import LookoutReporter, LookoutSender
from lookout_client.self_metrics import ReportMetrics
from lookout_client.snapshot import NumberPoint
from lookout_client.steps import Priority
from lookout_client.windows import Indicator

CHINA = timezone(timedelta(hours=8))


class Call(NamedTuple):
    method: str
    headers: dict[str, str]
    body: bytes


class Gateway:
    """Answers as told and remembers what it was asked."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.answers: dict[str, tuple[int, dict[str, str], bytes]] = {}
        gateway = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                size = int(self.headers.get("Content-Length", "0"))
                assert self.path == "/datas"
                gateway.calls.append(
                    Call(self.command, dict(self.headers.items()), self.rfile.read(size))
                )
                status, headers, body = gateway.answers.get(self.command, (200, {}, b"OK"))
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = answer  # noqa: N815

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def posts(self) -> list[Call]:
        return [call for call in self.calls if call.method == "POST"]

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    gateway = Gateway()
    yield gateway
    gateway.close()


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def transport(gateway: Gateway, clock: Callable[[], float] | None = None) -> GatewayTransport:
    return GatewayTransport(
        [f"127.0.0.1:{gateway.port}"],
        {"app": "demo", "Client-Ip": "10.0.0.1"},
        clock=clock or Clock(),
    )


def parcel(body: bytes = b"{}") -> Parcel:
    return Parcel(body, 0, "p", "/datas", {"Content-Type": "text/plain", "pri": "NORMAL"})


def collected(registry: Registry) -> tuple[list[tuple[bytes, dict[str, str]]], LookoutReporter]:
    now = [0]
    sent: list[tuple[bytes, dict[str, str]]] = []
    reporter = LookoutReporter(
        registry, lambda body, headers, lines: sent.append((body, headers)), clock_ms=lambda: now[0]
    )
    now[0] = 30_000
    return sent, reporter


def filled(count: int) -> Registry:
    registry = Registry(max_series_per_metric=5_000)
    counter = registry.counter("c", keys=("i",))
    for number in range(count):
        counter.tagged(str(number)).inc()
    return registry


@pytest.mark.parametrize(("count", "encoding"), [(99, None), (100, "snappy")])
def test_b1_a_hundred_measurements_are_compressed(count: int, encoding: str | None) -> None:
    """99 lines go as text, 100 as raw Snappy blocks."""
    sent, reporter = collected(filled(count))
    reporter.report(Priority.NORMAL)
    ((body, headers),) = sent
    assert headers.get("Content-Encoding") == encoding
    assert headers["pri"] == "NORMAL"
    if encoding:
        assert headers["Content-Type"] == "application/octet-stream"
        body = bytes(cramjam.snappy.decompress_raw(body))
    else:
        assert headers["Content-Type"] == "text/plain"
    assert len(body.split(SEPARATOR)) == count


def test_b1_1701_measurements_are_two_posts() -> None:
    """A batch holds 1700 measurements."""
    sent, reporter = collected(filled(1_701))
    reporter.report(Priority.NORMAL)
    (large, _), (small, headers) = sent
    assert len(bytes(cramjam.snappy.decompress_raw(large)).split(SEPARATOR)) == 1_700
    assert headers["Content-Type"] == "text/plain"
    assert len(small.split(SEPARATOR)) == 1


def test_the_line_is_what_the_reference_writes() -> None:
    """Time with seconds and offset, tags with `_type_`, values: the recorded lines, as JSON."""
    common = (("app", "demo"), ("ip", "10.0.0.1"))
    own = (("code", "200"), ("method", "get"))
    at = 1528187490000
    counter = Indicator(at, "http_requests_total", own, "c", {"count": 6, "rate": 0.2})
    assert json.loads(line(counter, common, CHINA) or b"") == json.loads(
        '{"time":"2018-06-05T16:31:30+08:00","tags":{"app":"demo","_type_":"c","code":"200",'
        '"method":"get","ip":"10.0.0.1"},"http_requests_total":{"count":6,"rate":0.2}}'
    )
    bucket = Indicator(at, "rpc.latency", (("_bucket", "0-100"),), "", {"buckets": 2})
    assert line(bucket, (), CHINA) == (
        b'{"time":"2018-06-05T16:31:30+08:00","tags":{"_bucket":"0-100"},'
        b'"rpc.latency":{"buckets":2}}'
    )
    assert iso_seconds(at, UTC) == "2018-06-05T08:31:30Z"


def test_a14_a_common_tag_never_overrides_a_metrics_own() -> None:
    """The metric's own value of a key wins over the common one."""
    text = line(Indicator(0, "c", (("app", "own"),), "c", {"count": 1}), (("app", "common"),))
    assert json.loads(text or b"")["tags"]["app"] == "own"


names = st.text(min_size=1, max_size=50)


@given(
    names,
    st.dictionaries(names, st.text(max_size=50), max_size=5),
    st.dictionaries(names, st.integers() | st.floats() | st.text(max_size=20), max_size=4),
)
def test_b2_and_defect_2_every_line_is_valid_json(
    name: str, tags: dict[str, str], values: dict[str, Any]
) -> None:
    """Quotes, control characters, any script, NaN and infinities: each piece parses."""
    text = line(Indicator(0, name, tuple(sorted(tags.items())), "c", values))
    if text is None:
        return
    assert SEPARATOR not in text
    parsed = json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    expected = {k: v for k, v in values.items() if not isinstance(v, float) or v - v == 0}
    (told,) = (parsed[key] for key in parsed if key not in ("time", "tags"))
    assert set(told) <= set(expected)


@pytest.mark.parametrize(
    "indicator",
    [
        Indicator(0, "n" * 201, (), "c", {"count": 1}),
        Indicator(0, "n", tuple((f"k{i:02}", "v") for i in range(21)), "", {"count": 1}),
        Indicator(0, "n", (("k" * 101, "v"),), "c", {"count": 1}),
        Indicator(0, "n", (), "g", {"value": float("nan")}),
    ],
)
def test_what_the_gateway_would_drop_is_refused_and_counted(indicator: Indicator) -> None:
    """Names over 200, more than 20 tags, keys over 100 and values without a number."""
    assert line(indicator) is None


def test_b3_nothing_is_posted_before_a_gateway_answers(gateway: Gateway) -> None:
    """A probe that fails keeps bodies back; the first 200 lets them go."""
    way = transport(gateway)
    gateway.answers["GET"] = (503, {}, b"")
    with pytest.raises(Unavailable):
        way.deliver(parcel(), "", 1)
    assert gateway.posts() == []
    del gateway.answers["GET"]
    assert way.deliver(parcel(), "", 1) == 0
    assert len(gateway.posts()) == 1


def test_b3_412_keeps_the_gateway_one_has(gateway: Gateway) -> None:
    """After 65 s the probe is repeated; 412 means to stay, and reporting goes on."""
    clock = Clock()
    way = transport(gateway, clock)
    way.deliver(parcel(), "", 1)
    gateway.answers["GET"] = (412, {}, b"")
    clock.now = 66.0
    way.deliver(parcel(), "", 1)
    assert [call.method for call in gateway.calls] == ["GET", "POST", "GET", "POST"]


def test_a_gateway_is_pinned_for_65_seconds(gateway: Gateway) -> None:
    """One probe serves all reports of that time; any failure probes again."""
    clock = Clock()
    way = transport(gateway, clock)
    for clock.now in (0.0, 30.0, 64.0):
        way.deliver(parcel(), "", 1)
    assert [call.method for call in gateway.calls] == ["GET", "POST", "POST", "POST"]
    gateway.answers["POST"] = (500, {}, b"")
    with pytest.raises(Unavailable):
        way.deliver(parcel(), "", 1)
    del gateway.answers["POST"]
    way.deliver(parcel(), "", 1)
    assert [call.method for call in gateway.calls][-3:] == ["POST", "GET", "POST"]


def test_b4_silence_is_kept_for_as_long_as_asked(gateway: Gateway) -> None:
    """403 with Wait-Minutes: 1 means no request for 60 seconds, then the body arrives."""
    clock = Clock()
    way = transport(gateway, clock)
    gateway.answers["POST"] = (403, {"Wait-Minutes": "1"}, b"")
    with pytest.raises(Unavailable) as silence:
        way.deliver(parcel(), "", 1)
    assert silence.value.retry_after_s == 60.0
    seen = len(gateway.calls)
    del gateway.answers["POST"]
    clock.now = 59.9
    with pytest.raises(Unavailable):
        way.deliver(parcel(), "", 1)
    assert len(gateway.calls) == seen
    clock.now = 60.1
    assert way.deliver(parcel(), "", 1) == 0


FIVE = [
    Indicator(0, name, tags, "c", {"count": 1})
    for name, tags in [
        ("jvm.memory", ()),
        ("jvm.memory.heap", ()),
        ("rpc.consumer", (("k1", "v1"),)),
        ("other", (("k1", "v1"),)),
        ("none", (("k1", "v2"),)),
    ]
]


@pytest.mark.parametrize(
    ("config", "kept"),
    [
        ({"name_pre_wl": "jvm.memory,rpc.consumer", "tag_wl": "k1=v1"}, 4),
        ({"name_pre_wl": "", "tag_wl": ""}, 0),
        ({}, 5),
        ({"name_pre_wl": "jvm.memory,rpc.consumer"}, 3),
        ({"name_pre_wl": "jvm.memory,rpc.consumer,other"}, 4),
    ],
)
def test_b5_the_report_filter(config: dict[str, str], kept: int) -> None:
    """A prefix or a tag keeps; both absent keep all; present but blank keeps nothing."""
    wanted = ReportFilter.parse(json.dumps({"id": "v1", "config": config}).encode())
    assert sum(wanted.keeps(indicator) for indicator in FIVE) == kept


def test_b5_the_filter_comes_with_the_probe_and_its_id_is_echoed(gateway: Gateway) -> None:
    """`Conf-Refresh` brings a new list; the next probe names it in `Conf-Id`."""
    clock = Clock()
    way = transport(gateway, clock)
    body = b'{"id":"v7","config":{"name_pre_wl":"jvm"}}'
    gateway.answers["GET"] = (200, {"Conf-Refresh": "true"}, body)
    way.deliver(parcel(), "", 1)
    clock.now = 66
    way.deliver(parcel(), "", 1)
    probes = [call.headers["Conf-Id"] for call in gateway.calls if call.method == "GET"]
    assert probes == ["", "v7"]
    assert [way.filter.keeps(indicator) for indicator in FIVE] == [True, True, False, False, False]


def test_b6_headers(gateway: Gateway) -> None:
    """The probe and the report carry what the reference's carry."""
    transport(gateway).deliver(parcel(), "", 1)
    probe, report = gateway.calls
    common = {"Client-Ip": "10.0.0.1", "app": "demo", "User-Agent": "LOOKOUT-CLIENT-V1"}
    assert {**common, "Conf-Id": ""}.items() <= probe.headers.items()
    told = {**common, "Content-Type": "text/plain", "pri": "NORMAL"}
    assert told.items() <= report.headers.items()


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("gw", "http://gw:7200"),
        ("127.0.0.1:7300", "http://127.0.0.1:7300"),
        ("https://gw.example:1/x/", "https://gw.example:1/x"),
    ],
)
def test_defects_4_and_5_a_port_in_the_address_is_used(address: str, url: str) -> None:
    """host:port works, and probe and report go to the same port."""
    assert base_url(address) == url


@pytest.mark.parametrize("address", ["http://", "https:///datas", ":7200", "http://:7200"])
def test_an_address_without_a_host_is_no_gateway(address: str) -> None:
    """It is refused in words, and not taken for a host that never answers."""
    with pytest.raises(ValueError, match="is no gateway: expected host, host:port or a URL"):
        base_url(address)


def test_defect_3_a_report_survives_an_outage_and_the_end(gateway: Gateway) -> None:
    """What could not be sent is sent later; the last step is sent at the close."""
    registry = Registry()
    registry.counter("c").inc(5)
    sender = LookoutSender(transport(gateway))
    gateway.answers["GET"] = (503, {}, b"")
    reporter = LookoutReporter(registry, sender.put, clock_ms=lambda: 1_000)
    registry.counter("c").inc(2)
    reporter.finish()
    assert not sender.flush(Deadline(1))
    assert gateway.posts() == []
    del gateway.answers["GET"]
    assert sender.shutdown(Deadline(5))
    (post,) = gateway.posts()
    told = json.loads(post.body)
    assert (told["c"]["count"], told["time"]) == (2, iso_seconds(1_000))  # not in the future


ENDS = """
import os, signal, sys
import lookout_client as lookout
lookout.init("demo", collector="", gateway=sys.argv[1], importers="none", flush_on_sigterm=True)
lookout.counter("hits").inc(4)
if sys.argv[2] == "fork":
    child = os.fork()
    if child == 0:
        lookout.counter("hits").inc(3)
        sys.exit()
    os.waitpid(child, 0)
elif sys.argv[2] == "sigterm":
    os.kill(os.getpid(), signal.SIGTERM)
elif sys.argv[2] == "shutdown":
    lookout.shutdown(5)
"""


@pytest.mark.parametrize(
    ("end", "reported"), [("exit", [4]), ("shutdown", [4]), ("sigterm", [4]), ("fork", [3, 4])]
)
def test_defect_3_the_last_step_is_reported_however_the_process_ends(
    gateway: Gateway, end: str, reported: list[int]
) -> None:
    """At exit, at a shutdown, at SIGTERM where it is asked for, and by each of two processes."""
    address = f"127.0.0.1:{gateway.port}"
    subprocess.run([sys.executable, "-c", ENDS, address, end], timeout=30, check=end != "sigterm")
    lines = [json.loads(line) for line in told_lines(gateway)]
    hits = [line for line in lines if line.get("hits", {}).get("count")]
    assert sorted(line["hits"]["count"] for line in hits) == reported
    instances = {line["tags"]["instance_id"] for line in hits}  # two would hide each other
    assert len(instances) == len(reported)


def test_defect_3_a_report_survives_a_restart_where_a_directory_is_given(
    gateway: Gateway, tmp_path: Path
) -> None:
    """What waits when the process ends is sent by the next one; every line is accounted for."""
    gateway.answers["GET"] = (503, {}, b"")
    first = LookoutSender(transport(gateway), spill=str(tmp_path / "spill"))
    first.put(b"earlier", {"pri": "LOW"}, 7)
    assert not first.shutdown(Deadline(1))
    assert (first.report.created, first.report.in_flight, first.report.dropped) == (7, 7, {})
    del gateway.answers["GET"]
    second = LookoutSender(transport(gateway), spill=str(tmp_path / "spill"))
    second.put(b"later", {"pri": "LOW"}, 3)
    done = threading.Event()
    for _ in range(200):
        if len(gateway.posts()) == 2 or done.wait(0.05):
            break
    assert second.shutdown(Deadline(5))
    assert sorted(post.body for post in gateway.posts()) == [b"earlier", b"later"]
    assert (second.report.created, second.report.acknowledged) == (3, 3)


def test_what_becomes_of_the_lines_is_a_metric(gateway: Gateway) -> None:
    """Acknowledged, not allowed, dropped by reason, and those that wait."""
    registry = Registry()
    sender = LookoutSender(transport(gateway))
    now = [0]
    reporter = LookoutReporter(registry, sender.put, clock_ms=lambda: now[0])
    registry.add_source(ReportMetrics(registry, reporter, sender))
    registry.counter("c").inc(5)
    registry.counter("n" * 201).inc()
    now[0] = 30_000
    reporter.report(Priority.NORMAL)
    gateway.answers["POST"] = (400, {}, b"")
    sender.flush(Deadline(5))
    found = {
        (snapshot.definition.name, dict(point.tags).get("outcome", "")): point.value
        for snapshot in registry.collect()
        for point in snapshot.points
        if isinstance(point, NumberPoint) and snapshot.definition.name.startswith("lookout.")
    }
    lines = "lookout.gateway.lines"
    assert found[lines, "not allowed"] == 1
    assert found[lines, "acknowledged"] == 0
    assert found[lines, "dropped: refused"] == len(told_lines(gateway))
    assert found["lookout.gateway.waiting", ""] == 0


def told_lines(gateway: Gateway) -> list[bytes]:
    return [line for post in gateway.posts() for line in post.body.split(SEPARATOR)]


def read(server: PullServer, path: str, **headers: str) -> tuple[int, Any]:
    request = urllib.request.Request(f"http://127.0.0.1:{server.port}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request) as answer:
            body = answer.read()
            if answer.headers.get("Content-Encoding") == "gzip":
                return answer.status, json.loads(gzip.decompress(body))
            return answer.status, body
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_b7_slots() -> None:
    """Four slots: the oldest gives way, confirmed ones are freed, the others come again."""
    slots = Slots(4)
    for cursor in (2000, 3000, 4000, 5000, 6000):
        slots.add(cursor, [])
    assert slots.cursors() == [6000, 5000, 4000, 3000]
    assert [slot["cursor"] for slot in slots.take({3000, 4000})] == [6000, 5000]
    assert slots.take({5000, 6000}) == []


def test_b7_pull_over_http() -> None:
    """First read empty, then the steps; bad numbers 400, wrong token 403, /clear 204."""
    now = [10_000]
    active: list[bool] = []
    registry = Registry()
    exporter = PullExporter(
        registry, on_active=active.append, idle_s=1_800, clock_ms=lambda: now[0]
    )
    server = PullServer(exporter, 0, token="secret")
    token = {"X-Lookout-Token": "secret"}
    try:
        assert read(server, "/get") == (403, "Forbidden")
        status, first = read(server, "/get?step=1000&slotCount=4", **token)
        assert (status, first) == (200, {"step": 1000, "slotCount": 4, "data": []})
        registry.counter("foo").inc(3)
        now[0] = 11_500
        _, second = read(server, "/get?STEP=1000", **token)
        (slot,) = second["data"]
        assert slot["cursor"] == 11_000
        assert slot["data"] == [
            {"name": "foo", "timestamp": 11_000, "tags": {"_type_": "c"},
             "metrics": {"count": 3, "rate": 3.0}}
        ]  # fmt: skip
        _, third = read(server, "/get?success=11000", **token)
        assert third["data"] == []
        status, problem = read(server, "/get?step=abc", **token)
        assert status == 400 and "abc" in problem
        assert read(server, "/get?step=0", **token)[0] == 400
        assert read(server, "/get?slotCount=0", **token)[0] == 400
        assert read(server, "/clear", **token) == (204, b"")
        assert active == [True]
        now[0] += 1_800_001
        exporter.sample()
        assert active == [True, False] and not exporter.active
    finally:
        server.close()


def test_defect_14_a_requested_step_holds_even_if_it_is_the_default() -> None:
    """Asking for 30000 ms, the default, makes every metric step by it, whatever its priority."""
    now = [0]
    registry = Registry()
    exporter = PullExporter(registry, clock_ms=lambda: now[0])
    exporter.get("step=30000")
    registry.counter("fast", priority="high").inc()
    registry.counter("slow", priority="low").inc()
    now[0] = 30_000
    (slot,) = json.loads(exporter.get("step=30000"))["data"]
    assert {metric["name"] for metric in slot["data"]} == {"fast", "slow"}


def test_init_reports_to_a_gateway_and_a_puller_suspends_it(gateway: Gateway) -> None:
    """`gateway=` is all it takes: common tags on every line, the last step at the shutdown."""
    lookout.REGISTRY.families.clear()
    lookout.init(
        service_name="demo",
        collector=None,
        importers="none",
        gateway=f"127.0.0.1:{gateway.port}",
        pull_port=0,
        resource={"host.name": "h1", "service.instance.id": "i1"},
    )
    try:
        lookout.counter("hits").inc(4)
        assert lookout.shutdown(5)
        lines = [
            json.loads(piece) for call in gateway.posts() for piece in call.body.split(SEPARATOR)
        ]
        (hits,) = (parsed for parsed in lines if "hits" in parsed)
        assert hits["hits"]["count"] == 4
        expected = {"app": "demo", "host": "h1", "instance_id": "i1", "_type_": "c"}
        assert expected.items() <= hits["tags"].items()
        assert gateway.posts()[0].headers["app"] == "demo"
    finally:
        lookout.shutdown(1)
        lookout.REGISTRY.families.clear()


def test_a_reporter_is_silent_while_somebody_pulls() -> None:
    """Steps pass without a report, so that nothing is counted twice."""
    sent, reporter = collected(filled(3))
    reporter.active = False
    reporter.report(Priority.NORMAL)
    assert sent == []


def test_a_forked_child_reports_what_it_counted_itself() -> None:
    """Nothing of its parent's step, nothing negative; and nobody pulls from a child."""
    registry = Registry()
    counter = registry.counter("c")
    sent, reporter = collected(registry)
    counter.inc(100)
    reporter.report(Priority.NORMAL)
    assert told(sent) == [100]
    reporter.active = False
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        sent.clear()
        reporter.after_fork({})
        counter.inc(3)
        reporter.finish()
        os.write(write_end, json.dumps(told(sent)).encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert json.loads(os.read(read_end, 100)) == [3]
    os.close(read_end)
    os.close(write_end)


def told(sent: list[tuple[bytes, dict[str, str]]]) -> list[int]:
    """The counts of the counter c in these bodies."""
    return [json.loads(line)["c"]["count"] for body, _ in sent for line in body.split(b"\t")]
