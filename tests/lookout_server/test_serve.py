"""``lookout serve`` as its user meets it: flags, mistakes, readiness, tenants, the end."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import json
import select
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Message

from lookout_server.cors import QueryCors

from .serving import Serve, Serving, rows

JSON = {"Content-Type": "application/json"}


def span(number: int = 1, time_us: int | None = None) -> bytes:
    """A body of one span."""
    return json.dumps(
        [
            {
                "traceId": f"{number:016x}",
                "id": f"{number:016x}",
                "name": "get",
                "timestamp": time_us or time.time_ns() // 1000,
                "duration": 1000,
                "localEndpoint": {"serviceName": f"service-{number}"},
            }
        ]
    ).encode()


def lookout(*arguments: str, env: dict[str, str] | None = None) -> tuple[int, list[str]]:
    """Run the command; its status and the lines on standard error."""
    done = subprocess.run(
        [sys.executable, "-m", "lookout_server", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=env,
    )
    return done.returncode, done.stderr.splitlines()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--retention", "soon"], "retention: 'soon' is no duration"),
        (["--listen", "here"], "listen: 'here' is no address"),
        (["--listen", "0.0.0.0:0"], "0.0.0.0 is not loopback and there are no tokens"),
        (["--insecure-listen", "--listen", "256.0.0.1:0"], "cannot listen on 256.0.0.1:0"),
        (["--flag"], "No such option"),
        (["--tls-cert", "a.pem"], "tls_cert and tls_key belong together"),
        (["--tokens-file", "/nonexistent.toml"], "cannot read the tokens file /nonexistent.toml"),
        (["--config", "/nonexistent.toml"], "does not exist"),
        (["--data-dir", "/proc/lookout"], "cannot use the data directory /proc/lookout"),
        (["--clickhouse-url", "clickhouse://127.0.0.1:1/x"], "ClickHouse does not answer"),
    ],
)
def test_a_mistake_gets_one_line(flags: list[str], message: str, tmp_path: Path) -> None:
    """A user's mistake is one line and exit status 2, never a traceback."""
    base = ["serve", "--data-dir", str(tmp_path / "data"), "--listen", "127.0.0.1:0"]
    status, lines = lookout(*base, *flags)
    assert (status, len(lines)) == (2, 1), lines
    assert message in lines[0]


def test_a_busy_port(tmp_path: Path) -> None:
    """A port somebody else listens on is one line too."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        status, lines = lookout("serve", "--data-dir", str(tmp_path), "--listen", address)
    assert status == 2
    assert lines == [f"lookout: cannot listen on {address}: address already in use"]


def test_unknown_settings_in_a_file_are_named(tmp_path: Path) -> None:
    """A misspelt setting is not silently ignored."""
    file = tmp_path / "lookout.toml"
    file.write_text('retenton = "7d"\n')
    status, lines = lookout("serve", "--config", str(file))
    assert (status, lines) == (2, [f"lookout: {file}: unknown setting retenton (is it retention?)"])


def test_a_directory_belongs_to_one_process(serve: Serve, tmp_path: Path) -> None:
    """A second collector on the same directory gets one clear line and exit status 2."""
    serve(data_dir=tmp_path / "data")
    status, lines = lookout(
        "serve", "--data-dir", str(tmp_path / "data"), "--listen", "127.0.0.1:0"
    )
    assert status == 2
    said = "is in use by another lookout process: stop the collector first"
    assert lines == [f"lookout: {tmp_path / 'data'} {said}"]


def test_from_start_to_end(serve: Serve, tmp_path: Path) -> None:
    """Ready in time, spans are readable at once, SIGTERM stores what waits and exits 0."""
    started = time.monotonic()
    serving = serve("--retention", "0")
    assert time.monotonic() - started < 10
    assert serving.request("/-/ready")[::2] == (200, "ready\n")
    assert serving.request("/-/healthy")[::2] == (200, "healthy\n")
    assert serving.request("/api/v2/spans", span(), JSON)[0] == 202
    assert json.loads(serving.request("/api/v2/services")[2]) == ["service-1"]
    assert serving.request("/api/v2/spans", span(2), JSON)[0] == 202
    assert serving.terminate() == 0
    assert rows(tmp_path / "data", "SELECT count() AS n FROM spans") == [{"n": 2}]


def test_a_trace_is_there_at_once_however_much_comes_in(serve: Serve) -> None:
    """Who posts a span can open its trace by id right away, also while thousands are written."""
    serving = serve("--retention", "0")
    many = b"[" + b",".join(span(number)[1:-1] for number in range(1, 6001)) + b"]"
    began, number = time.monotonic(), 10_000
    while time.monotonic() < began + 8:  # five such seconds are a load
        number += 1
        assert serving.request("/api/v2/spans", many, JSON)[0] == 202
        assert serving.request("/api/v2/spans", span(number), JSON)[0] == 202
        assert serving.request(f"/api/v2/trace/{number:016x}")[0] == 200


def test_any_time_since_1970_with_retention_0(serve: Serve) -> None:
    """Without retention a span of 1970 is kept; with it, it is refused by rule and counted."""
    serving = serve("--retention", "0")
    serving.request("/api/v2/spans", span(1, time_us=1), JSON)
    assert serving.request("/api/v2/trace/0000000000000001")[0] == 200
    assert serving.terminate() == 0
    serving = serve("--retention", "7d", data_dir=Path(serving.process.args[-3]).parent / "other")  # type: ignore[index]
    serving.request("/api/v2/spans", span(2, time_us=1), JSON)
    assert serving.request("/api/v2/trace/0000000000000002")[0] == 404
    name = 'lookout_collector_dropped_rows_total{reason="time_out_of_bounds",signal="spans"}'
    assert serving.metric(name) == 1


def test_tenants(serve: Serve) -> None:
    """With --multitenancy the header is needed, its name checked, and tenants see their own."""
    serving = serve("--multitenancy")
    status, _, text = serving.request("/api/v2/services")
    assert (status, text) == (
        401,
        "this collector keeps tenants apart: name one in the header X-Scope-OrgID",
    )
    assert serving.request("/api/v2/spans", span(), JSON)[0] == 401
    for bad in ("a b", "ü", "x" * 151, "a/b"):
        encoded = {"X-Scope-OrgID": bad.encode().decode("latin-1")}
        assert serving.request("/api/v2/services", headers=encoded)[0] == 400
    a, b = {"X-Scope-OrgID": "team-a"}, {"X-Scope-OrgID": "T!_.*'()-9"}
    assert serving.request("/api/v2/spans", span(1), {**JSON, **a})[0] == 202
    assert json.loads(serving.request("/api/v2/services", headers=a)[2]) == ["service-1"]
    assert json.loads(serving.request("/api/v2/services", headers=b)[2]) == []
    for path in ("/", "/-/ready", "/metrics"):
        assert serving.request(path)[0] == 200


def test_tokens_and_rights(serve: Serve, tmp_path: Path) -> None:
    """A token opens what it names and nothing else; it shows up in no log and no metric."""
    file = tmp_path / "tokens.toml"
    file.write_text(
        "[[token]]\nname = 'writer'\ntoken = 'write-secret-0123456789'\nrights = ['write']\n"
        "[[token]]\nname = 'reader'\ntoken = 'read-secret-0123456789'\nrights = ['read']\n"
    )
    serving = serve("--tokens-file", str(file))
    writer = {"Authorization": "Bearer write-secret-0123456789"}
    reader = {"Authorization": "Bearer read-secret-0123456789"}
    assert serving.request("/-/ready")[0] == 200
    assert serving.request("/api/v2/services")[0] == 401
    wrong = {"Authorization": "Bearer nonsense"}
    assert serving.request("/api/v2/services", headers=wrong)[0] == 401
    assert serving.request("/api/v2/spans", span(), {**JSON, **reader})[0] == 403
    assert serving.request("/api/v2/spans", span(), {**JSON, **writer})[0] == 202
    assert serving.request("/api/v2/services", headers=writer)[0] == 403
    assert serving.request("/api/v2/services", headers=reader)[0] == 200
    status, headers, text = serving.request("/metrics")
    assert (status, headers["www-authenticate"]) == (401, 'Basic realm="lookout"')
    assert "secret" not in serving.request("/metrics", headers=reader)[2] + text
    assert serving.terminate() == 0
    assert "secret" not in "".join(serving.lines)


def test_bodies_over_their_limits(serve: Serve) -> None:
    """Too large is 413, as sent or unpacked, a bomb costs no memory, unknown coding is 415."""
    serving = serve(env={"LOOKOUT_BODY_MAX": "1MB", "LOOKOUT_BODY_MAX_DECOMPRESSED": "5MB"})
    before = serving.metric("process_resident_memory_bytes")
    for size in (1_000_000, 3_000_000):
        assert serving.request("/api/v2/spans", b"[" + b" " * size, JSON)[0] == 413
    bomb = gzip.compress(b"[" + b" " * 100_000_000, 1)
    status, _, text = serving.request("/api/v2/spans", bomb, {**JSON, "Content-Encoding": "gzip"})
    assert status == 413, text
    assert serving.metric("process_resident_memory_bytes") - before < 80_000_000
    assert serving.request("/api/v2/spans", span(), JSON)[0] == 202


def test_slow_clients_are_let_go(serve: Serve) -> None:
    """Connections that send nothing, or a body that never ends, do not last."""
    serving = serve(env={"LOOKOUT_BODY_TIMEOUT": "0.5"})
    host, port = serving.url.removeprefix("http://").split(":")
    silent = socket.create_connection((host, int(port)))
    silent.settimeout(10)
    half = socket.create_connection((host, int(port)))
    half.settimeout(10)
    half.sendall(b"POST /api/v2/spans HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n[")
    with contextlib.suppress(ConnectionResetError):
        assert silent.recv(100) == b""
    assert half.recv(100).startswith(b"HTTP/1.1 408")
    silent.close()
    half.close()


def test_clients_that_break_off_leave_no_trace(serve: Serve) -> None:
    """Half a body and a closed connection: nothing is stored, nothing is logged."""
    serving = serve()
    host, port = serving.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as half:
        half.sendall(b"POST /api/v2/spans HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n[")
    assert serving.request("/api/v2/spans", span(), JSON)[0] == 202
    assert serving.terminate() == 0
    assert len(serving.lines) == 1


def test_too_many_connections(serve: Serve) -> None:
    """Beyond the limit a connection gets 503 at once; those that are open go on."""
    serving = serve(env={"LOOKOUT_CONNECTIONS_MAX": "20"})
    address = serving.url.removeprefix("http://")
    kept = [http.client.HTTPConnection(address, timeout=10) for _ in range(20)]
    for connection in kept:
        connection.request("GET", "/-/ready")
        assert connection.getresponse().read() == b"ready\n"
    more = http.client.HTTPConnection(address, timeout=10)
    more.request("GET", "/-/ready")
    answer = more.getresponse()
    assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
    answer.close()
    more.close()
    kept[0].request("GET", "/-/ready")
    assert kept[0].getresponse().read() == b"ready\n"
    for connection in kept:
        connection.close()
    serving.eventually(lambda: _answers(serving))


def _answers(serving: Serving) -> bool:
    return serving.request("/-/ready")[0] == 200


def test_refusals_before_anything_is_dropped(serve: Serve) -> None:
    """A tenant over its rate gets 429, one tenant too many too, both with Retry-After."""
    limits = {"LOOKOUT_TENANT_RATE": "1kB", "LOOKOUT_MAX_TENANTS": "1"}
    serving = serve("--multitenancy", env=limits)
    a, b = {**JSON, "X-Scope-OrgID": "a"}, {**JSON, "X-Scope-OrgID": "b"}
    answers = [serving.request("/api/v2/spans", span(n), a) for n in range(1, 31)]
    refused = [answer for answer in answers if answer[0] != 202]
    assert refused and len(refused) < 30
    assert all(status == 429 and "retry-after" in headers for status, headers, _ in refused)
    status, headers, text = serving.request("/api/v2/spans", span(), b)
    assert (status, headers["retry-after"]) == (429, "60")
    assert "max_tenants" in text


def test_cross_origin_pages(serve: Serve) -> None:
    """The answers Zipkin's server gives to pages of allowed, other and any origins."""
    page = {"Origin": "http://foo.example.com"}
    asks = {
        **page,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type",
    }
    serving = serve(env={"LOOKOUT_CORS_ORIGINS": "http://foo.example.com"})
    for path in ("/api/v2/traces", "/api/v2/spans"):
        status, headers, _ = serving.request(path, headers=asks, method="OPTIONS")
        assert status // 100 == 2
        assert headers["vary"].lower() == "origin"
        assert headers["access-control-allow-origin"] == "http://foo.example.com"
        assert "POST" in headers["access-control-allow-methods"]
        assert "content-type" in headers["access-control-allow-headers"]
        assert "access-control-allow-credentials" not in headers
    other = {"Origin": "http://bar.example.com"}
    for headers in (other, {}):
        status, answered, _ = serving.request("/api/v2/traces", headers=headers)
        assert status == 200
        assert not {name for name in answered if name.startswith("access-control")}
        assert "vary" not in answered
    assert serving.terminate() == 0
    serving = serve()
    _, headers, _ = serving.request("/api/v2/traces", headers=page)
    assert (headers["access-control-allow-origin"], "vary" in headers) == ("*", False)
    assert headers["access-control-expose-headers"] == "X-Lookout-Next-Cursor, X-Lookout-Linked"
    assert headers["access-control-allow-headers"] == "content-type"


@pytest.mark.parametrize(
    ("path", "method"),
    [
        ("/api/v2/spans", "POST"),
        ("/api/v1/write", "POST"),
        ("/api/v1/query", "GET"),
        ("/api/v1/query", "POST"),
        ("/api/v1/lookout/ledger", "GET"),
        ("/api/v1/admin/tsdb/delete_series", "POST"),
        ("/v1/traces", "POST"),
        ("/metrics", "GET"),
    ],
)
async def test_pages_may_not_by_default(path: str, method: str) -> None:
    """Only Zipkin's queries are open to any page; with an empty setting not even they are."""
    page = [(b"origin", b"http://foo.example.com")]
    ask = [*page, (b"access-control-request-method", method.encode())]
    for how, headers in ((method, page), ("OPTIONS", ask)):
        assert await _cross_origin(None, path, how, headers) == []
        assert await _cross_origin([], "/api/v2/traces", how, headers) == []
        granted = await _cross_origin(["*"], path, how, headers)
        assert bool(granted) == path.startswith("/api/")
    assert await _cross_origin(None, "/zipkin/api/v2/trace/abc", "GET", page)


async def _cross_origin(
    origins: list[str] | None, path: str, method: str, headers: list[tuple[bytes, bytes]]
) -> list[str]:
    """The CORS headers of the answer."""
    answered: list[str] = []

    async def send(message: Message) -> None:
        answered.extend(name.decode() for name, _ in message.get("headers", ()))

    async def receive() -> Message:
        return {"type": "http.request", "body": b""}

    scope = {"type": "http", "path": path, "method": method, "headers": headers}
    await QueryCors(PlainTextResponse("plain"), origins)(scope, receive, send)
    return [name for name in answered if name.startswith("access-control-")]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/v1/query", 204),
        ("/prometheus/api/v1/label/job/values", 204),
        ("/api/v2/services", 405),
        ("/v1/traces", 405),
    ],
)
async def test_options_of_prometheus(path: str, status: int) -> None:
    """Prometheus' paths answer OPTIONS as Prometheus does, and grant only what is set."""
    page = "http://foo.example.com"
    for origins in (None, [], [page]):
        app = QueryCors(PlainTextResponse("no such method", 405), origins)
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://collector") as client:
            answer = await client.options(path)
            assert (answer.status_code, "access-control-allow-origin" in answer.headers) == (
                status,
                False,
            )
            if status == 204:
                answer = await client.options(path, headers={"Origin": page})
                allowed = answer.headers.get("access-control-allow-origin")
                assert (answer.status_code, allowed) == (204, page if origins else None)


def test_a_head_has_an_end(serve: Serve) -> None:
    """A request head that only grows is answered 431 and closed, one of usual size is served."""
    serving = serve()
    assert serving.request("/-/ready", headers={"X-Long": "a" * 60_000})[0] == 200
    host, port = serving.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), 10) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nX-Long: ")
        for _ in range(20):  # the answer comes long before
            connection.sendall(b"a" * 65_536)
            if select.select([connection], [], [], 0.2)[0]:
                break
        assert connection.recv(1000).startswith(b"HTTP/1.1 431 ")
    assert serving.request("/-/ready")[0] == 200
