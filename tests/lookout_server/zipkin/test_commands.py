"""`lookout traces`, `trace`, `services` and `deps` against a running collector."""

from __future__ import annotations

import io
import json
import re
import time
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from lookout_server.cli import cli
from lookout_server.commands._query import Collector
from lookout_server.commands.trace import waterfall
from lookout_server.commands.traces import table_of
from lookout_server.ingest.zipkin_json import read_spans
from lookout_server.spans.model import Endpoint, make_span

from .running import serving

NOW_US = time.time_ns() // 1000 - 5_000_000
SPANS = [
    {"traceId": "a1", "id": "1", "kind": "SERVER", "name": "get /", "timestamp": NOW_US,
     "duration": 5000, "localEndpoint": {"serviceName": "web"}},
    {"traceId": "a1", "id": "2", "parentId": "1", "kind": "CLIENT", "name": "call",
     "timestamp": NOW_US + 1000, "duration": 3000, "localEndpoint": {"serviceName": "web"}},
    {"traceId": "a1", "id": "2", "parentId": "1", "kind": "SERVER", "shared": True, "name": "put",
     "timestamp": NOW_US + 1500, "duration": 2000, "tags": {"error": "boom"},
     "localEndpoint": {"serviceName": "db"}},
]  # fmt: skip


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A collector with one trace of tenant ``t``."""
    with serving(tmp_path_factory.mktemp("commands")) as base_url:
        post = urllib.request.Request(
            f"{base_url}/api/v2/spans", json.dumps(SPANS).encode(), {"X-Scope-OrgID": "t"}
        )
        with urllib.request.urlopen(post) as answer:
            assert answer.status == 202
        yield base_url


def run(url: str, *arguments: str) -> Result:
    return CliRunner().invoke(cli, [*arguments, "--url", url, "--tenant", "t"])


def test_traces_lists_what_it_finds(url: str) -> None:
    """A trace is a line: duration, spans, root, services and id."""
    found = run(url, "traces", "--service", "web", "--query", "error").output
    assert "no traces" in found  # the error is the database's
    found = run(
        url, "traces", "--service", "db", "--query", "error", "--min-duration", "2ms"
    ).output
    for text in ("5ms", "web: get /", "web, db", "00000000000000a1"):
        assert text in found
    # For a program to read: one line, its time whole, the failure told.
    row = found.splitlines()[1]
    assert re.match(r"(\d{4}-\d\d-\d\d )?\d\d:\d\d:\d\d  5ms  ", row)
    assert "  ERR web: get /  " in row
    assert row.endswith("00000000000000a1")


def test_traces_fit_a_narrow_terminal() -> None:
    """At 80 columns a trace has two lines, none of them wrapped, and its id is whole."""
    trace_id = "463ac35c9f6413ad48485a3953bb6124"
    trace = [
        make_span(trace_id, f"{number:016x}", parent_id="1" * (number > 1), name="get /" + "x" * 90,
                  timestamp=1_600_000_000_000_000, local=Endpoint(f"service-{number}"))
        for number in range(1, 7)
    ]  # fmt: skip
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(table_of([trace, trace], wide=False))
    lines = [line.rstrip() for line in console.export_text().splitlines()]
    assert len(lines) == 1 + 2 * 2 and all(len(line) <= 80 for line in lines)
    assert lines[1].endswith("…") and "service-1: get /xx" in lines[1]
    assert lines[2].strip() == trace_id
    wide = Console(width=160, record=True, file=io.StringIO())
    wide.print(table_of([trace]))
    assert len(wide.export_text().splitlines()) == 2


@pytest.mark.parametrize("width", [60, 80, 130])
def test_long_names_leave_times_and_ids_whole(width: int) -> None:
    """Whatever the services are called, an id can be copied and a time be read."""
    trace_id = "463ac35c9f6413ad48485a3953bb6124"
    trace = [
        make_span(trace_id, f"{number:016x}", parent_id="1" * (number > 1), duration=12_345,
                  name="get /api/v1/orders/{id}/items/of/this/[bold]customer",
                  timestamp=1_600_000_000_000_000, local=Endpoint(f"recommendation-{number}"))
        for number in range(1, 7)
    ]  # fmt: skip
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(table_of([trace], wide=width >= 130))
    heading, row, *more = console.export_text().splitlines()
    assert re.match(r"START +DURATION +SPANS +ROOT", heading)
    assert re.match(r"2020-09-1\d \d\d:\d\d:\d\d +12\.\d+ms +6 +recommendation-1: get", row)
    assert all(len(line.rstrip()) <= width for line in (heading, row, *more))
    assert trace_id in "".join(line.strip() for line in (row, *more))


def test_trace_draws_a_waterfall(url: str) -> None:
    """Each span is below its parent, with its bar, its duration and, if asked for, its tags."""
    lines = run(url, "trace", "a1", "--width", "80", "--tags").output.splitlines()
    assert lines[0] == "00000000000000a1  3 spans  2 services  5ms"
    assert [line.split("█")[0].rstrip() for line in lines[1:4]] == [
        "web: get /", "  web: call", "    db: put"
    ]  # fmt: skip
    assert lines[1].endswith("█ 5ms") and lines[4].strip() == "error = boom"
    assert lines[3].endswith(" 2ms ERR")


def test_counts_have_their_number() -> None:
    """One span is no "1 spans"."""
    (span, *_) = read_spans(json.dumps(SPANS[:1]).encode())
    assert next(waterfall([span], 80)).plain == "00000000000000a1  1 span  1 service  5ms"


def test_services_and_deps(url: str) -> None:
    """Services, the names of one, and who calls whom."""
    assert run(url, "services").output == "db\nweb\n"
    assert "  call\n  get /\n" in run(url, "services", "web").output
    assert run(url, "deps").output.splitlines()[1].split() == ["web", "db", "1", "1"]


@pytest.mark.parametrize(
    ("more", "told"),
    [("", ":"), ("; crossing=300000", ", without traces idle for 5m around its beginning:")],
)
def test_deps_say_what_range_they_are_of(
    monkeypatch: pytest.MonkeyPatch, more: str, told: str
) -> None:
    """Where the collector could not link all of the range, it is told beside the answer."""
    answer = (
        [{"parent": "web", "child": "db", "callCount": 1}],
        {"X-Lookout-Linked": f"1700000000000-1700000299999{more}"},
    )
    monkeypatch.setattr(Collector, "ask", lambda *_, **__: answer)
    found = run("http://nowhere", "deps", "--json")
    assert json.loads(found.stdout) == answer[0]
    ends = r"only of 2023-11-1\d .* to 2023-11-1\d \d\d:\d\d:\d\d"
    assert re.match(f"{ends}{re.escape(told)} more came", found.stderr)


@pytest.mark.parametrize(
    "arguments", [["traces"], ["trace", "a1"], ["services"], ["services", "web"], ["deps"]]
)
def test_json_is_the_answer_of_the_api(url: str, arguments: list[str]) -> None:
    """--json gives what a script can read."""
    assert json.loads(run(url, *arguments, "--json").output)


def test_errors_are_one_line(url: str) -> None:
    """What is wrong is said in the collector's words, or in ours, with a failing status."""
    failed = run(url, "trace", "ffff")
    assert (failed.exit_code, failed.output) == (
        1,
        "lookout: 000000000000ffff not found: "
        "sampled out, older than the retention, or another --tenant's?\n",
    )
    failed = run("http://127.0.0.1:9", "services")
    assert failed.output == (
        "lookout: no answer from http://127.0.0.1:9 (connection refused); "
        "start one with `lookout serve`, or name it with --url\n"
    )
    failed = run(url, "services", "nope")
    assert (failed.exit_code, failed.output) == (1, "lookout: no service 'nope'; known: db, web\n")
    assert run(url, "traces", "--name", "nope").output == (
        "no traces in 1h; --since looks further back\n"
    )
    for arguments, said in (
        (("--since", "x"), "Invalid value for --since: 'x' is no duration"),
        (("--since", "5"), "Invalid value for --since: '5' has no unit; expected such as 5d"),
        (("--min-duration", "1x"), "Invalid value for --min-duration: '1x' is no duration"),
        (("--end", "x"), "Invalid value for --end: 'x' is no time"),
    ):
        failed = run(url, "traces", *arguments)
        assert failed.exit_code == 2
        assert failed.output.startswith(f"lookout: {said}")
    failed = run("foo", "traces")
    assert failed.exit_code == 2
    assert failed.output == "lookout: --url 'foo' is no address; expected http://host:port\n"


STRANGE = {
    "/page": (404, b"<!DOCTYPE HTML><p>File not found"),
    "/words": (404, b"Not Found"),
    "/nothing": (502, b""),
    "/gate": (401, b"Unauthorized"),
}


class Stranger(BaseHTTPRequestHandler):
    """A server that is no collector."""

    def do_GET(self) -> None:
        status, body = STRANGE[f"/{self.path.split('/')[1]}"]
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: it would go to the terminal."""


@pytest.fixture
def stranger() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Stranger) as server:
        Thread(target=server.serve_forever, args=(0.01,)).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/page", "(404)"),
        ("/words", "(404)"),
        ("/nothing", "(502)"),
        ("/gate", "(401) (here: --token)"),
    ],
)
def test_a_server_that_is_no_collector_is_named(stranger: str, path: str, told: str) -> None:
    """Its page is not printed, and a bare status would tell nobody what is wrong."""
    url = f"http://{stranger}{path}"
    failed = run(url, "services")
    assert (failed.exit_code, failed.output) == (
        1,
        f"lookout: {url} answers, but not as a collector does {told}\n",
    )


def test_https_of_a_plain_port_is_told(url: str, stranger: str) -> None:
    """In words about the address, not those of the TLS library."""
    for address in (stranger, url.removeprefix("http://")):
        failed = run(f"https://{address}", "services")
        assert f"https://{address} (it speaks no TLS; is it http://?)" in failed.output


def test_several_collectors_are_tried_in_turn(url: str) -> None:
    """As applications do: LOOKOUT_COLLECTOR may name several."""
    assert run(f"http://127.0.0.1:9, {url}", "services").output == "db\nweb\n"
    failed = run("http://127.0.0.1:9,http://127.0.0.1:10/", "services").output
    refused = "(connection refused)"
    said = f"no answer from http://127.0.0.1:9 {refused}, http://127.0.0.1:10 {refused}; "
    assert failed.startswith(f"lookout: {said}")


def test_a_missing_tenant_is_asked_for_by_the_option(url: str) -> None:
    """Who forgot the tenant is told of --tenant, whose help names the variable."""
    failed = CliRunner().invoke(cli, ["services", "--url", url], env={"LOOKOUT_TENANT": ""})
    assert failed.exit_code == 1
    assert failed.output.endswith("in the header X-Scope-OrgID (here: --tenant)\n")
    for command in ("services", "ship"):
        text = CliRunner().invoke(cli, [command, "--help"]).output
        assert "LOOKOUT_TENANT" in text
        assert "LOOKOUT_TOKEN" in text
