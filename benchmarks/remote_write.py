"""Samples a second by remote write: decoded alone, and accepted and stored by a collector.

usage: scripts/bench remote_write [--seconds 8] [--per-series 1,20] [--version 2.0]

Decoding is measured in this process against a walk over the parsed protobuf messages, which is what
a receiver does without a cache of label sets. The collector is a process of its own; four clients
send 10,000 samples a request as fast as they are answered, then wait until all are stored.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import re
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

import cramjam
import numpy as np

from lookout_server.ingest import remote_write
from lookout_server.ingest.remote_write import LabelCache
from lookout_server.ingest.remote_write_messages import RequestV2, WriteRequest
from lookout_server.signal import Receipt

from .interleaved import compare
from .prometheus_queries import free_port

SAMPLES = 10_000
CLIENTS = 4
STEP_MS = 100
HEADERS = {
    "1.0": {"Content-Type": "application/x-protobuf", "Content-Encoding": "snappy"},
    "2.0": {
        "Content-Type": "application/x-protobuf;proto=io.prometheus.write.v2.Request",
        "Content-Encoding": "snappy",
    },
}


#: A sample as it is encoded here: its value, and its time in six bytes.
_SAMPLE = re.compile(rb"\x12\x10\x09(.{8})\x10(.{6})", re.DOTALL)


class Template:
    """10,000 samples of series with six labels; values and times are put in body by body."""

    def __init__(self, per_series: int, first_ms: int, version: str = "1.0") -> None:
        self._span = per_series * STEP_MS
        steps = [(step, first_ms + step * STEP_MS) for step in range(per_series)]
        request: Any = WriteRequest() if version == "1.0" else RequestV2()
        symbols: dict[str, int] = {"": 0}
        for number in range(SAMPLES // per_series):
            series = request.timeseries.add()
            for name, value in labels(number).items():
                if version == "1.0":
                    series.labels.add(name=name, value=value)
                else:
                    series.labels_refs.append(symbols.setdefault(name, len(symbols)))
                    series.labels_refs.append(symbols.setdefault(value, len(symbols)))
            for step, at in steps:
                series.samples.add(timestamp=at, value=1.5 * number + step + 1)
            if version != "1.0":  # Prometheus sends it with every series
                series.metadata.type = 1
        if version != "1.0":
            request.symbols.extend(text.encode() for text in symbols)
        encoded = request.SerializeToString()
        places = np.array([found.start(1) for found in _SAMPLE.finditer(encoded)])
        assert len(places) == SAMPLES
        self._bytes = np.frombuffer(encoded, dtype=np.uint8)
        self._values = (places[:, None] + np.arange(8)).ravel()
        self._times = (places[:, None] + np.arange(9, 15)).ravel()
        self._first = first_ms + np.arange(per_series) * STEP_MS
        self._numbers = self._bytes[self._values].view("<f8")

    def body(self, number: int) -> bytes:
        """The compressed body of a number: the same series, later and with greater values."""
        data = self._bytes.copy()
        times = self._first[:, None] + number * self._span
        varints = times >> np.arange(0, 42, 7) & 0x7F | [0x80, 0x80, 0x80, 0x80, 0x80, 0]
        data[self._times] = np.tile(varints.ravel().astype(np.uint8), SAMPLES // len(times))
        data[self._values] = (self._numbers + number).view(np.uint8)
        return bytes(cramjam.snappy.compress_raw(data.data))


def labels(number: int) -> dict[str, str]:
    """Labels of a series."""
    return {
        "__name__": "http_requests_total",
        "code": str(200 + number % 5),
        "instance": f"10.0.0.{number % 250}:9090",
        "job": "api",
        "method": "GET",
        "pod": f"pod-{number:06d}-abcdef",
    }


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
    data = Template(per_series, now - 60_000).body(0)
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


def collecting(per_series: int, seconds: float, version: str) -> str:
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
            return _load(port, url, per_series, seconds, version)
        finally:
            process.terminate()
            process.wait(60)
            process.stdout.close()


def _load(port: int, url: str, per_series: int, seconds: float, version: str) -> str:
    template = Template(per_series, time.time_ns() // 1_000_000 - 3 * 3_600_000, version)
    sent = [0] * CLIENTS
    numbers = itertools.count()
    used, began = time.process_time(), time.perf_counter()

    def client(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        body = b""
        while time.perf_counter() - began < seconds:
            body = body or template.body(next(numbers))
            connection.request("POST", "/api/v1/write", body, HEADERS[version])
            answer = connection.getresponse()
            answer.read()
            if answer.status == 204:
                sent[number] += 1
                body = b""
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
    ours = (time.process_time() - used) / (sum(sent) * SAMPLES) * 1e6
    told = f"stored, {version}, {per_series:2} a series: {rate:12,.0f}/s"
    return f"{told}, client {ours:.2f} us CPU a sample"


def main() -> None:
    """Print a line a measurement."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--per-series", default="1,20")
    parser.add_argument("--version", default="1.0", choices=HEADERS, help="of remote write")
    options = parser.parse_args()
    for per_series in map(int, options.per_series.split(",")):
        if options.version == "1.0":
            print(decoding(per_series), flush=True)
        print(collecting(per_series, options.seconds, options.version), flush=True)


if __name__ == "__main__":
    main()
