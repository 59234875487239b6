"""Trouble a collector meets: full and read-only disks, a database that is away, floods."""

from __future__ import annotations

import gzip
import http.client
import json
import os
import resource
import socket
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from lookout_server.limits import TenantLimits

from .clickhouse import LIBRARY, MISSING, ClickHouseServer, free_port, shards
from .prometheus_api.remote import HEADERS, write_request
from .serving import Serve, Serving, rows
from .test_serve import JSON, lookout, span

pytestmark = pytest.mark.slow


def post(serving: Serving, first: int, count: int, size: int = 10) -> tuple[int, list[int]]:
    """Post bodies of ``size`` spans; how many spans were accepted, and the statuses otherwise."""
    accepted, others = 0, []
    connection = http.client.HTTPConnection(serving.url.removeprefix("http://"), timeout=30)
    for number in range(first, first + count):
        spans = [json.loads(span(number * size + n))[0] for n in range(1, size + 1)]
        padding = {"tags": {"padding": os.urandom(50).hex()}}
        body = json.dumps([{**one, **padding} for one in spans]).encode()
        connection.request("POST", "/api/v2/spans", body, JSON)
        answer = connection.getresponse()
        answer.read()
        if answer.status == 202:
            accepted += size
        else:
            others.append(answer.status)
    connection.close()
    return accepted, others


def count(data_dir: Path) -> tuple[int, int]:
    """Spans in the database, all and distinct."""
    found = rows(data_dir, "SELECT count() AS n, uniqExact(low) AS distinct FROM spans")[0]
    return found["n"], found["distinct"]


def test_disk_full(serve: Serve, tmp_path: Path) -> None:
    """A file that cannot grow: 503 with the reason, then as before when there is room again."""
    serving = serve()
    accepted, others = post(serving, 0, 3)
    assert others == []
    pid = serving.process.pid
    unlimited = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (4096, unlimited[1]))
    deadline = time.monotonic() + 20
    number = 10
    while time.monotonic() < deadline:
        more, others = post(serving, number, 1)
        accepted += more
        number += 1
        if others:
            break
    assert others == [503]
    status, headers, text = serving.request("/api/v2/spans", span(10**9), JSON)
    assert (status, headers["retry-after"]) == (503, "5")
    assert text.startswith("the journal cannot be written")
    assert serving.request("/-/ready")[0] == 503
    assert serving.request("/-/healthy")[0] == 200
    resource.prlimit(pid, resource.RLIMIT_FSIZE, unlimited)
    serving.eventually(lambda: post(serving, 10**6, 1)[1] == [])
    assert serving.request("/-/ready")[0] == 200
    serving.eventually(lambda: serving.metric("lookout_collector_journal_bytes") == 0)
    assert serving.terminate() == 0
    n, distinct = count(tmp_path / "data")
    assert n == distinct >= accepted + 10


def test_read_only_directory(tmp_path: Path) -> None:
    """A journal that cannot be written is one line at the start, not a surprise later."""
    if os.geteuid() == 0:
        place = Path("/sys/kernel")  # a file system where nobody may write
    else:
        place = tmp_path / "locked"
        place.mkdir(mode=0o500)
    status, lines = lookout("serve", "--data-dir", str(place / "data"), "--listen", "127.0.0.1:0")
    assert (status, len(lines)) == (2, 1)
    assert "cannot use the data directory" in lines[0]


def test_journal_limit(serve: Serve, tmp_path: Path) -> None:
    """When the database does not take what comes, the journal fills and says no in time."""
    if not LIBRARY.exists():
        pytest.skip(MISSING)
    server = ClickHouseServer(tmp_path / "server", free_port())
    server.start()
    serving = serve(
        env={
            "LOOKOUT_CLICKHOUSE_URL": server.url,
            "LOOKOUT_JOURNAL_MAX": "50kB",
            "LOOKOUT_PENDING_ROWS": "100",
        }
    )
    accepted, others = post(serving, 0, 5)
    assert others == []
    server.stop()
    for number in range(10, 400):
        more, others = post(serving, number, 1)
        accepted += more
        if others:
            break
    assert others == [503]
    assert serving.request("/-/healthy")[0] == 200
    status, headers, text = serving.request("/api/v2/spans", span(10**9), JSON)
    assert (status, headers["retry-after"]) == (503, "5")
    assert "the journal holds its limit of 50000 bytes" in text
    serving.kill()  # and a crash on top of it
    server.start()
    serving = serve(env={"LOOKOUT_CLICKHOUSE_URL": server.url})
    serving.eventually(lambda: serving.metric("lookout_collector_journal_bytes") == 0, 40)
    more, others = post(serving, 1000, 1)
    accepted += more
    assert others == []
    serving.eventually(lambda: serving.metric("lookout_collector_journal_bytes") == 0, 40)
    from lookout_server.store.server import ServerStore

    store = ServerStore(server.url)
    found = store.fetch("SELECT count() AS n, uniqExact(low) AS distinct FROM spans").to_pylist()
    assert found == [{"n": accepted, "distinct": accepted}]
    store.close()
    server.stop()


def test_one_of_two_shards_is_lost(serve: Serve, tmp_path: Path) -> None:
    """What is accepted while a shard is away is there once when it is back, on both of them."""
    if not LIBRARY.exists():
        pytest.skip(MISSING)
    servers = shards(tmp_path, 2)
    serving = serve(
        env={
            "LOOKOUT_CLICKHOUSE_URL": servers[0].url,
            "LOOKOUT_CLICKHOUSE_CLUSTER": "main",
            "LOOKOUT_CLICKHOUSE_ON_CLUSTER": "false",
        }
    )
    accepted, others = post(serving, 0, 5)
    serving.eventually(lambda: serving.metric("lookout_collector_journal_bytes") == 0, 40)
    servers[1].stop()
    for number in range(10, 30):
        more, refused = post(serving, number, 1)
        accepted, others = accepted + more, others + refused
    retries = 'lookout_collector_insert_retries_total{signal="spans"}'
    serving.eventually(lambda: serving.metric(retries) > 0, 40)
    assert serving.metric("lookout_collector_journal_bytes") > 0
    servers[1].start()
    serving.eventually(lambda: serving.metric("lookout_collector_journal_bytes") == 0, 60)
    assert others == []
    from lookout_server.store.server import ServerStore

    store = ServerStore(servers[0].url)
    found = store.fetch("SELECT count() AS n, uniqExact(low) AS distinct FROM spans").to_pylist()
    assert found == [{"n": accepted, "distinct": accepted}]
    store.close()
    for server in servers:
        server.stop()


def test_a_bomb_of_ten_gigabytes(serve: Serve) -> None:
    """10 MB that unpack to 10 GB are refused at the limit, and cost no more memory than it."""
    serving = serve(env={"LOOKOUT_BODY_MAX_DECOMPRESSED": "64MiB"})
    before = serving.metric("process_resident_memory_bytes")
    bomb = gzip.compress(b" " * 100_000_000, 9) * 100  # a gzip body may have many members
    headers = {**JSON, "Content-Encoding": "gzip"}
    for path in ("/api/v2/spans", "/v1/traces"):
        assert serving.request(path, bomb, headers)[0] == 413
    assert serving.metric("process_resident_memory_bytes") - before < 300e6
    assert serving.request("/api/v2/spans", span(), JSON)[0] == 202


def test_many_slow_connections(serve: Serve) -> None:
    """Ten thousand connections that send nothing keep nobody else out for longer than a timeout."""
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if allowed < 11_000:
        pytest.skip(f"a process may open {allowed} files here; ten thousand are needed")
    serving = serve(env={"LOOKOUT_BODY_TIMEOUT": "2"})
    host, port = serving.url.removeprefix("http://").split(":")

    def accepted() -> bool:
        with suppress(OSError):  # one too many itself, and closed before it was heard
            return serving.request("/api/v2/spans", span(), JSON)[0] == 202
        return False

    with ExitStack() as slow:
        for number in range(10_000):
            connection = slow.enter_context(socket.create_connection((host, int(port)), 10))
            if number % 2:
                with suppress(OSError):  # it was one too many, and is closed already
                    connection.sendall(b"POST /api/v2/spans HTTP/1.1\r\nContent-Le")
        serving.eventually(accepted)
        serving.eventually(lambda: serving.metric("process_open_fds") < 500)


def test_many_tenants(serve: Serve) -> None:
    """Tenants without number cost neither memory nor the others' service."""
    serving = serve("--multitenancy", env={"LOOKOUT_MAX_TENANTS": "50"})
    connection = http.client.HTTPConnection(serving.url.removeprefix("http://"), timeout=30)
    statuses = []
    for number in range(500):
        headers = {**JSON, "X-Scope-OrgID": f"tenant-{number}"}
        connection.request("POST", "/api/v2/spans", span(number + 1), headers)
        answer = connection.getresponse()
        answer.read()
        statuses.append(answer.status)
    connection.close()
    assert statuses == [202] * 50 + [429] * 450
    first = {"X-Scope-OrgID": "tenant-0"}
    assert json.loads(serving.request("/api/v2/services", headers=first)[2]) == ["service-1"]


def test_many_series(serve: Serve) -> None:
    """Series beyond the limit are refused by name and counted; the known ones are served."""
    serving = serve(env={"LOOKOUT_SERIES_PER_METRIC_MAX": "1000"})
    now = int(time.time() * 1000)

    def write(first: int, last: int) -> tuple[int, str]:
        series = [
            ({"__name__": "m", "n": str(number)}, [(now, 1.0)]) for number in range(first, last)
        ]
        status, _, text = serving.request("/api/v1/write", write_request(series), HEADERS)
        return status, text

    assert write(0, 900)[0] == 204
    for first in range(900, 60_900, 10_000):
        status, text = write(first, first + 10_000)
        assert status == 400
        assert "metric m of tenant default has 1000 active series, the limit is 1000" in text
    assert write(0, 1_000)[0] == 204
    rejected = 'lookout_collector_rejected_samples_total{reason="series_limit_metric"}'
    assert serving.metric(rejected) == 59_900
    found = json.loads(serving.request("/api/v1/query?query=count(m)")[2])["data"]["result"]
    assert found[0]["value"][1] == "1000"


def test_a_million_tenants_cost_no_memory() -> None:
    """Names beyond the most tenants are not remembered; the known ones are served as before."""
    limits = TenantLimits(max_tenants=100, bytes_per_second=1_000_000)
    refused = sum(limits.refusal(f"tenant-{n}", 100) is not None for n in range(1_000_000))
    assert refused == 1_000_000 - 100
    assert len(limits._full_at) == 100
    assert limits.refusal("tenant-7", 100) is None
