"""Every metric takes SOFALookout's gateway rules, whatever protocol it came by."""

from __future__ import annotations

import orjson
import pytest

from lookout_server.config import parse_duration
from lookout_server.ingest import lookout_lines, metricbeat, opentsdb, prometheus_push
from lookout_server.ingest.gateway import clean_key, clean_name, clean_value, parse_time
from lookout_server.ingest.gateway_routes import GatewayRefusal, group_labels, path_tags
from lookout_server.metrics.rows import MetricRows
from lookout_server.signal import Malformed, Receipt

NOW = 1_700_000_000_000


def receipt(**hints: object) -> Receipt:
    return Receipt("default", NOW, {"ip": "10.0.0.9", **hints})


def points(rows: MetricRows) -> list[tuple[str, dict[str, str], int, float]]:
    """Name, other labels, time and value of every sample."""
    found = []
    for index, time, value in zip(
        rows.sample_series.tolist(), rows.timestamps.tolist(), rows.values.tolist(), strict=True
    ):
        labels = dict(rows.series[index].labels)
        found.append((labels.pop("__name__"), labels, time, value))
    return found


def line(name: str = "hits", tags: dict[str, str] | None = None, time: object = NOW) -> bytes:
    return orjson.dumps({"time": time, "tags": tags or {"app": "shop"}, name: {"count": 6}})


@pytest.mark.parametrize(
    ("dirty", "clean"), [("_aa-bb", "m__aa_bb"), ("1x", "m_1x"), ("a.b:c", "a.b:c")]
)
def test_c3_names(dirty: str, clean: str) -> None:
    """Names are of letters, digits, ``_``, ``:`` and ``.`` and start with a letter."""
    assert clean_name(dirty) == clean


def test_c3_keys_and_values() -> None:
    """Keys have no colon, ``_bucket`` stays, and runs of awkward characters in values are one."""
    assert clean_key("a:b") == "a_b"
    assert clean_key("_bucket") == "_bucket"
    assert clean_value("GET /a?b=c") == "GET_/a?b_c"
    assert clean_value("a, b=c") == "a_b_c"
    assert clean_value("  x") == "_x"


def test_c12_times() -> None:
    """Times are ISO 8601 of any length or epoch milliseconds."""
    assert parse_time("2018-03-29T08:27:21.200Z") == 1_522_312_041_200
    assert parse_time("2018-06-05T16:41:30+08:00") == 1_528_188_090_000
    assert parse_time("1522312041200") == 1_522_312_041_200
    assert parse_time(1522312041200) == 1_522_312_041_200


@pytest.mark.parametrize(
    ("text", "seconds"), [("1s", 1), ("1m", 60), ("1h", 3_600), ("1d", 86_400), ("1w", 604_800)]
)
def test_c12_durations(text: str, seconds: float) -> None:
    """Those of SOFALookout's scrape files; weeks, which it refuses, are Prometheus'."""
    assert parse_duration(text) == seconds
    with pytest.raises(ValueError, match="is no duration"):
        parse_duration(f"{text}x")


def test_lookout_lines() -> None:
    """Lines joined by tabs; steering tags go, the address comes, NaN is a number."""
    body = b"\t".join(
        [
            line(tags={"app": "shop", "_type_": "c", "priority": "HIGH"}),
            b'{"time":1700000000000,"tags":{"app":"shop"},"pool":{"size":NaN,"text":"x"}}',
        ]
    )
    first, second = points(lookout_lines.decode(body, receipt()))
    assert first == ("hits.count", {"app": "shop", "ip": "10.0.0.9"}, NOW, 6.0)
    assert second[0] == "pool.size" and second[3] != second[3]


def test_c6_a_bad_line_costs_only_itself() -> None:
    """What is not understood is left out and told, the rest is kept."""
    rows = lookout_lines.decode(line() + b"\t{broken\t" + line("other"), receipt())
    assert [name for name, *_ in points(rows)] == ["hits.count", "other.count"]
    assert [(problem.reason, problem.samples) for problem in rows.problems] == [
        ("malformed_line", 1)
    ]


def test_a_body_of_nothing_good_is_malformed() -> None:
    """A body without a single good line is refused."""
    with pytest.raises(Malformed):
        lookout_lines.decode(b"hello", receipt())


def test_c2_limits() -> None:
    """Long names, many tags and old metrics are dropped, long values cut."""
    many = {f"k{number}": "v" for number in range(21)}
    body = b"\t".join(
        [
            line("n" * 201),
            line(tags=many),
            line(tags={"app": "shop", "v": "x" * 201}),
            line(time=NOW - 3 * 86_400_000),
        ]
    )
    rows = lookout_lines.decode(body, receipt())
    (kept,) = points(rows)
    assert kept[1]["v"] == "x" * 200
    assert rows.problems[0].samples == 3
    del many["k0"], many["k1"]  # and the client's address is the twentieth
    longest = b"\t".join(
        [line("n" * 194), line(tags=many), line(time=NOW - 2 * 86_400_000)]  # with .count 200
    )
    assert lookout_lines.decode(longest, receipt()).problems == []


def test_c4_and_c5_prometheus_text_is_aligned() -> None:
    """All samples of a push are aligned to the step, escapes and +Inf are read."""
    body = (
        b'cpu.user{instance_id="000001", app="foo"} 80.5\n'
        b"some_metric 42\n# a comment\nbad line here\n"
        b'b{le="+Inf",t="a\\"b, c"} +Inf 1699999999999\n'
    )
    rows = prometheus_push.decode_gateway(body, receipt(step=30, tags={"job": "j", "app": "bar"}))
    assert points(rows) == [
        (
            "cpu.user",
            {"instance_id": "000001", "app": "foo", "job": "j", "ip": "10.0.0.9"},
            1_699_999_980_000,
            80.5,
        ),
        ("some_metric", {"job": "j", "app": "bar", "ip": "10.0.0.9"}, 1_699_999_980_000, 42.0),
        (
            "b",
            {"le": "+Inf", "t": "a_b_c", "job": "j", "app": "bar", "ip": "10.0.0.9"},
            1_699_999_980_000,
            float("inf"),
        ),
    ]
    assert [(problem.reason, problem.samples) for problem in rows.problems] == [
        ("malformed_line", 1)
    ]


def test_c8_opentsdb() -> None:
    """An object or an array; seconds and milliseconds are told apart."""
    one = {"metric": "sys.cpu", "timestamp": 1_700_000_000, "value": 18, "tags": {"host": "a"}}
    two = {**one, "timestamp": 1_700_000_001_500, "value": "1.5"}
    single = opentsdb.decode(orjson.dumps(one), receipt(step=-1))
    both = opentsdb.decode(orjson.dumps([one, two, {"metric": "x"}]), receipt(step=-1))
    assert points(single) == [("sys.cpu", {"host": "a", "ip": "10.0.0.9"}, NOW, 18.0)]
    assert [(time, value) for _, _, time, value in points(both)] == [
        (NOW, 18.0),
        (NOW + 1_500, 1.5),
    ]
    assert both.problems[0].reason == "malformed_point"


def test_c7_metricbeat() -> None:
    """Numeric leaves of a document are metrics, its origin is their tags."""
    document = {
        "@timestamp": "2018-03-29T08:27:21.200Z",
        "beat": {"hostname": "moby", "name": "moby", "version": "6.2.3"},
        "metricset": {"module": "system", "name": "network", "rtt": 115},
        "type": "metricsets",
        "system": {"network": {"name": "eth0", "out": {"bytes": 0}}},
    }
    body = b'{"index":{"_type":"doc"}}\n' + orjson.dumps(document) + b"\n"
    tags = {"name": "moby", "hostname": "moby", "version": "6.2.3", "module": "system"}
    then = 1_522_312_041_200
    of_that_day = Receipt("default", then, {"ip": "10.0.0.9", "step": -1})
    assert points(metricbeat.decode(body, of_that_day)) == [
        ("system.network.out.bytes", {**tags, "ip": "10.0.0.9"}, then, 0.0)
    ]


def test_pushgateway() -> None:
    """A push has the labels of its group, and times of its own are refused."""
    rows = prometheus_push.decode_pushgateway(
        b'# TYPE x gauge\nx{job="own",a="1"} 2\n', receipt(tags={"job": "batch"})
    )
    assert points(rows)[0] == ("x", {"job": "batch", "a": "1"}, NOW, 2.0)
    assert rows.metadata[0].type == "gauge"
    with pytest.raises(Malformed, match="must not have timestamps"):
        prometheus_push.decode_pushgateway(b"x 1 1\n", receipt(tags={"job": "b"}))


def test_group_labels() -> None:
    """Values of a group may be base64, empty or with slashes."""
    assert group_labels("job/some/a@base64/L3Zhci90bXA") == {"job": "some", "a": "/var/tmp"}
    with pytest.raises(GatewayRefusal, match="job name is required"):
        group_labels("job@base64/=")


def test_path_tags() -> None:
    """Path segments come in pairs."""
    assert path_tags("job/a/app/b%2Fc") == {"job": "a", "app": "b/c"}
    with pytest.raises(GatewayRefusal, match="偶数"):
        path_tags("job/a/app")
