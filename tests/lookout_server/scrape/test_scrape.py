"""Targets are found, scraped and ended, and show in PromQL."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from lookout_client import Registry
from lookout_client.pull import PullExporter, PullServer
from lookout_server.ingest import remote_write
from lookout_server.ingest.prometheus_text import BadLine, parse, parse_line
from lookout_server.ingest.remote_write import LabelCache
from lookout_server.query.prometheus.source import is_stale
from lookout_server.scrape.config import ScrapeConfigInvalid, load_scrape_config
from lookout_server.scrape.loop import merged, scrape_body
from lookout_server.scrape.pull import BadSlots, read_slots
from lookout_server.scrape.target import Target, discover
from lookout_server.signal import Receipt

from ..serving import Serve

NOW = 1_700_000_000_000


class _Handler(http.server.BaseHTTPRequestHandler):
    text = '# TYPE jobs gauge\njobs{kind="a"} 3\n'
    release = threading.Event()

    def do_GET(self) -> None:
        if self.path == "/slow":
            self.release.wait(30)
        body = self.text.encode()
        self.send_response(200 if self.path == "/metrics" else 404)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def target() -> Iterator[str]:
    """HOST:PORT of something with metrics."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    _Handler.release.clear()
    yield f"127.0.0.1:{server.server_port}"
    _Handler.release.set()
    server.shutdown()
    thread.join()
    server.server_close()


def test_defect_22_labels_and_timeouts_count_from_target_to_promql(
    serve: Serve, target: str, tmp_path: Path
) -> None:
    """Static and file targets are scraped with their labels; up tells which answer in time."""
    found = tmp_path / "found.json"
    found.write_text(json.dumps([{"targets": ["127.0.0.1:1"], "labels": {"zone": "z"}}]))
    config = tmp_path / "prometheus.yml"
    config.write_text(
        f"""
global: {{scrape_interval: 300ms, scrape_timeout: 200ms}}
scrape_configs:
  - job_name: live
    static_configs: [{{targets: ["{target}"], labels: {{zone: y}}}}]
    metric_relabel_configs: [{{source_labels: [kind], target_label: sort}}]
  - job_name: slow
    metrics_path: /slow
    static_configs: [{{targets: ["{target}"], labels: {{zone: s}}}}]
  - job_name: gone
    file_sd_configs: [{{files: ["found.json"]}}]
"""
    )
    serving = serve(env={"LOOKOUT_SCRAPE_CONFIG": str(config)})

    def value(query: str) -> str | None:
        answer = json.loads(serving.request(f"/api/v1/query?query={quote(query)}")[2])
        result = answer["data"]["result"]
        return result[0]["value"][1] if result else None

    serving.eventually(lambda: value('jobs{job="live",sort="a",zone="y"}') == "3")
    serving.eventually(lambda: value('up{job="gone",zone="z"}') == "0")
    serving.eventually(lambda: value('up{job="slow",zone="s"}') == "0")
    assert value('up{job="live"}') == "1"
    targets = json.loads(serving.request("/api/v1/targets")[2])["data"]["activeTargets"]
    assert {entry["labels"]["job"]: entry["health"] for entry in targets} == {
        "live": "up",
        "slow": "down",
        "gone": "down",
    }
    found.write_text("[]")
    serving.eventually(lambda: value('up{job="gone"}') is None)


def test_pull_from_a_lookout_client(serve: Serve, tmp_path: Path) -> None:
    """SOFALookout's pull exporter is a target: each step is stored once, its token is sent."""
    registry = Registry()
    counter = registry.counter("hits", code="200")
    exporter = PullServer(PullExporter(registry), port=0, token="of the puller")
    config = tmp_path / "prometheus.yml"
    config.write_text(
        f"""
scrape_configs:
  - job_name: shop
    scrape_interval: 300ms
    metrics_path: /get
    params: {{step: ["200"]}}
    http_headers: {{X-Lookout-Token: {{secrets: ["of the puller"]}}}}
    static_configs: [{{targets: ["127.0.0.1:{exporter.port}"]}}]
"""
    )
    serving = serve(env={"LOOKOUT_SCRAPE_CONFIG": str(config)})

    def total() -> float:
        query = quote('sum(sum_over_time({__name__="hits.count",code="200",job="shop"}[1m]))')
        answer = json.loads(serving.request(f"/api/v1/query?query={query}")[2])
        result = answer["data"]["result"]
        return float(result[0]["value"][1]) if result else -1.0

    try:
        serving.eventually(lambda: total() >= 0)
        counter.inc(5)
        serving.eventually(lambda: total() == 5)
        counter.inc(2)
        serving.eventually(lambda: total() == 7)
        targets = json.loads(serving.request("/api/v1/targets")[2])["data"]["activeTargets"]
        assert [entry["health"] for entry in targets] == ["up"]
    finally:
        exporter.close()


def test_other_json_is_no_pull_answer() -> None:
    """What is wrong with an answer is said."""
    for body in (b"[]", b"{", b'{"data":[{"cursor":1}]}', b'{"data":[{"data":[]}]}'):
        with pytest.raises(BadSlots, match="not of SOFALookout's pull protocol"):
            read_slots(body)


def target_of(tmp_path: Path, more: str = "") -> Target:
    path = tmp_path / "prometheus.yml"
    job = f"{{job_name: j, static_configs: [{{targets: ['h:1']}}]{more}}}"
    path.write_text(f"scrape_configs: [{job}]")
    (found,), _ = discover(load_scrape_config(path).jobs[0])
    return found


def test_series_that_are_gone_end(tmp_path: Path) -> None:
    """A series that is missing from a scrape gets a staleness marker, once."""
    target = target_of(tmp_path)
    target.health = "up"
    bodies = [scrape_body(target, parse(text), NOW) for text in ("a 1\nb 1\n", "a 2\n", "a 3\n")]
    stale = []
    for body in bodies:
        rows = remote_write.decode(body, Receipt("t", NOW, {}), LabelCache())
        names = [rows.series[index].name for index in rows.sample_series.tolist()]
        stale.append([n for n, gone in zip(names, is_stale(rows.values), strict=True) if gone])
    assert stale == [[], ["b"], []]


def test_clashing_labels() -> None:
    """The target's labels win, and what they hide is called exported_; or it is honoured."""
    own = {"__name__": "a", "job": "x", "exported_job": "y"}
    target = {"job": "j", "instance": "i"}
    assert merged(own, target, honor=False) == {
        "__name__": "a",
        "job": "j",
        "exported_job": "y",
        "exported_exported_job": "x",
        "instance": "i",
    }
    assert merged(own, target, honor=True)["job"] == "x"


def test_relabelled_targets(tmp_path: Path) -> None:
    """Relabelling moves a target's address, path and parameters."""
    more = ", relabel_configs: [{target_label: __param_q, replacement: v}, "
    more += "{source_labels: [__address__], target_label: instance}, "
    more += "{target_label: __address__, replacement: 'proxy:9'}]"
    target = target_of(tmp_path, more)
    assert target.url == "http://proxy:9/metrics?q=v"
    assert target.labels == {"job": "j", "instance": "h:1"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("scrape_configs: [{job_nam: x}]", "needs a job_name"),
        ("scrape_configs: [{job_name: x, scrape_intervall: 5s}]", "unknown field"),
        ("scrape_configs: [{job_name: x, scrape_interval: 5}]", "not a valid duration"),
        ("rule_files: [x]", "unknown field 'rule_files'"),
        ("scrape_configs: [{job_name: x}, {job_name: x}]", "stands twice"),
        (": :", "cannot read"),
    ],
)
def test_bad_configuration(tmp_path: Path, text: str, message: str) -> None:
    """A mistake in the file is told with its place."""
    path = tmp_path / "prometheus.yml"
    path.write_text(text)
    with pytest.raises(ScrapeConfigInvalid, match=message):
        load_scrape_config(path)


@pytest.mark.parametrize(
    ("line", "labels", "value", "time"),
    [
        ("a 1", {"__name__": "a"}, 1.0, None),
        ("a{} 1 5", {"__name__": "a"}, 1.0, 5),
        ('a{b="c",} +Inf', {"__name__": "a", "b": "c"}, float("inf"), None),
        ('a { b = "x}\\"\\n\\\\" } 1e3', {"__name__": "a", "b": 'x}"\n\\'}, 1000.0, None),
        ('{"a.b", "c d"="e"} 2', {"__name__": "a.b", "c d": "e"}, 2.0, None),
    ],
)
def test_lines(line: str, labels: dict[str, str], value: float, time: int | None) -> None:
    """Names, labels with escapes, quoted names, values and times."""
    sample = parse_line(line)
    assert (dict(sample.labels), sample.value, sample.time_ms) == (labels, value, time)


@pytest.mark.parametrize(
    "line", ["a", "a{", 'a{b="c} 1', "a{b=c} 1", "a x", "1a 1", "a 1 x", "{} 1"]
)
def test_bad_lines(line: str) -> None:
    """What is no sample is said to be none."""
    with pytest.raises(BadLine):
        parse_line(line)


def test_openmetrics() -> None:
    """Times are seconds, and exemplars come along."""
    found = parse('a_total 1 2.5 # {trace_id="t"} 0.5 3\n# EOF\n', openmetrics=True)
    (sample,) = found.samples
    assert sample.time_ms == 2500
    assert sample.exemplar is not None and sample.exemplar.time_ms == 3000
