"""Samples a second by remote write: decoded alone, and accepted and stored by a collector.

usage: scripts/bench remote_write [--seconds 8] [--per-series 1,20]

Decoding is measured in this process against a walk over the parsed protobuf messages, which is what
a receiver does without a cache of label sets. The collector is a process of its own; four clients
send 10,000 samples a request as fast as they are answered, then wait until all are stored.
"""

from __future__ import annotations

import argparse
import http.client
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

import cramjam

from lookout_server.ingest import remote_write
from lookout_server.ingest.remote_write import LabelCache
from lookout_server.ingest.remote_write_messages import WriteRequest
from lookout_server.signal import Receipt

from .interleaved import compare
from .prometheus_queries import free_port

SAMPLES = 10_000
CLIENTS = 4
HEADERS = {"Content-Type": "application/x-protobuf", "Content-Encoding": "snappy"}


def body(per_series: int, first_ms: int) -> bytes:
    """10,000 samples of series with six labels."""
    request = WriteRequest()
    for number in range(SAMPLES // per_series):
        series = request.timeseries.add()
        labels = {
            "__name__": "http_requests_total",
            "code": str(200 + number % 5),
            "instance": f"10.0.0.{number % 250}:9090",
            "job": "api",
            "method": "GET",
            "pod": f"pod-{number:06d}-abcdef",
        }
        for name, value in labels.items():
            series.labels.add(name=name, value=value)
        for step in range(per_series):
            series.samples.add(timestamp=first_ms + step * 1000, value=1.5 * number + step)
    return bytes(cramjam.snappy.compress_raw(request.SerializeToString()))


def walked(data: bytes) -> int:
    """The samples and label sets of a body, by the protobuf library's objects."""
    request = WriteRequest.FromString(bytes(cramjam.snappy.decompress_raw(data)))
    found = 0
    for series in request.timeseries:
        key = tuple((label.name, label.value) for label in series.labels)
        found += len([(key, s.timestamp, s.value) for s in series.samples])
    return found


def decoding(per_series: int) -> str:
    """Samples a second of both ways."""
    now = time.time_ns() // 1_000_000
    data = body(per_series, now - 60_000)
    cache, receipt = LabelCache(), Receipt("default", now, {})

    def ours(count: int) -> None:
        for _ in range(count):
            remote_write.decode(data, receipt, cache)

    def theirs(count: int) -> None:
        for _ in range(count):
            walked(data)

    figures = compare({"lookout": (ours, 20), "objects": (theirs, 5)}, peer="objects", rounds=5)
    rate = SAMPLES / (figures.median_ns("lookout") / 1e9)
    ratio = figures.ratio("lookout")
    return f"decode, {per_series:2} a series: {rate:12,.0f}/s, time {ratio:.2f} of objects"


def stored(url: str) -> float:
    """Samples the collector says it has stored."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=10) as answer:
        for line in answer.read().decode().splitlines():
            if line.startswith('lookout_collector_stored_rows_total{signal="metrics"}'):
                return float(line.split()[-1])
    return 0.0


def collecting(per_series: int, seconds: float) -> str:
    """Samples a second from the first request until all are stored."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory() as directory:
        command = [sys.executable, "-m", "lookout_server", "serve", "--listen", f"127.0.0.1:{port}"]
        command += ["--data-dir", str(Path(directory) / "data"), "--log-level", "warning"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        process.stdout.readline()  # "ready"
        try:
            return _load(port, url, per_series, seconds)
        finally:
            process.terminate()
            process.wait(60)
            process.stdout.close()


def _load(port: int, url: str, per_series: int, seconds: float) -> str:
    now = time.time_ns() // 1_000_000
    span = per_series * 1000
    bodies = [body(per_series, now - 3_000_000 + round_ * span) for round_ in range(100)]
    sent = [0] * CLIENTS
    began = time.perf_counter()

    def client(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        while time.perf_counter() - began < seconds:
            place = (sent[number] * CLIENTS + number) % len(bodies)
            connection.request("POST", "/api/v1/write", bodies[place], HEADERS)
            answer = connection.getresponse()
            answer.read()
            if answer.status == 204:
                sent[number] += 1
            else:
                time.sleep(0.05)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    while stored(url) < sum(sent) * SAMPLES:
        time.sleep(0.05)
    rate = sum(sent) * SAMPLES / (time.perf_counter() - began)
    return f"stored, {per_series:2} a series: {rate:12,.0f}/s"


def main() -> None:
    """Print a line a measurement."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--per-series", default="1,20")
    options = parser.parse_args()
    for per_series in map(int, options.per_series.split(",")):
        print(decoding(per_series), flush=True)
        print(collecting(per_series, options.seconds), flush=True)


if __name__ == "__main__":
    main()
