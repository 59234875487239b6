"""What was counted of spans goes through a body of the journal and comes out as series."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lookout_server.metrics import span_rows
from lookout_server.metrics.rows import MetricRows
from lookout_server.metrics.series import LabelLimits, Labels
from lookout_server.metrics.service_graph import ServiceGraph
from lookout_server.metrics.span_body import Body, write
from lookout_server.metrics.span_histograms import BOUNDS, ZERO_THRESHOLD
from lookout_server.metrics.span_metrics import SpanMetrics
from lookout_server.metrics.span_report import graph_bodies, span_bodies
from lookout_server.metrics.span_series import SpanSeries
from lookout_server.query.prometheus.histogram import Histogram
from lookout_server.signal import Malformed, Receipt
from lookout_server.spans.model import Span

from .test_span_metrics import NOW, columns, span

RECEIPT = Receipt("default", NOW, {})


def report(*spans: Span, began: int = NOW - 5) -> bytes:
    metrics = SpanMetrics(most_keys=100)
    metrics.observe([columns(*spans)], began)
    (body,) = span_bodies(NOW, metrics.read()["default"], metrics.take_exemplars()["default"])
    return body


def read(body: bytes, series: SpanSeries | None = None) -> MetricRows:
    return span_rows.decode(body, RECEIPT, series or SpanSeries())


def floats(rows: MetricRows) -> dict[Labels, tuple[float, int]]:
    """Value and start of each float sample."""
    assert rows.starts is not None
    assert (rows.timestamps == NOW).all()
    samples = zip(
        rows.sample_series.tolist(), rows.values.tolist(), rows.starts.tolist(), strict=True
    )
    found = {rows.series[series].labels: (value, start) for series, value, start in samples}
    assert len(found) == len(rows.values)
    return found


durations = st.one_of(st.integers(0, 5), st.integers(0, 100_000_000))


@given(st.lists(st.tuples(st.sampled_from(["a", "b", ""]), durations, st.booleans()), min_size=1))
def test_series_say_what_was_counted(spans: list[tuple[str, int, bool]]) -> None:
    """Buckets, sum, count and native histogram of each key are those of its spans, counted here."""
    body = report(*(span("1", name=name, duration=us, error=bad) for name, us, bad in spans))
    rows = read(body)
    found = floats(rows)
    natives = {rows.series[one.series].labels: one for one in rows.histograms}
    for name, bad in {(name, bad) for name, _, bad in spans}:
        seconds = [us / 1e6 for n, us, b in spans if (n, b) == (name, bad)]
        labels = {"kind": "server", "service": "shop", "status": "error" if bad else "ok"}
        labels |= {"span_name": name} if name else {}
        of = "lookout_span_duration_seconds"
        for bound in (*BOUNDS, float("inf")):
            (key,) = (
                key
                for key in found
                if dict(key).items() >= {"__name__": f"{of}_bucket", **labels}.items()
                and float(dict(key)["le"]) == bound
                and set(dict(key)) == {"__name__", "le", *labels}
            )
            assert found[key] == (sum(one <= bound for one in seconds), NOW - 5)
        assert found[_labels(f"{of}_count", labels)] == (len(seconds), NOW - 5)
        assert found[_labels(f"{of}_sum", labels)][0] == pytest.approx(sum(seconds))
        native = natives[_labels(of, labels)]
        assert (native.timestamp, native.start) == (NOW, NOW - 5)
        _check_native(native.histogram, seconds)
    assert len(rows.histograms) == len({(name, bad) for name, _, bad in spans})


def _labels(metric: str, labels: dict[str, str]) -> Labels:
    return tuple(sorted([("__name__", metric), *labels.items()]))


def _check_native(histogram: Histogram, seconds: list[float]) -> None:
    assert histogram.count == len(seconds)
    assert histogram.zero_count == sum(one <= ZERO_THRESHOLD for one in seconds)
    uppers = histogram.bounds(histogram.positive.indices)
    above = np.array(sorted(one for one in seconds if one > ZERO_THRESHOLD))
    cumulative = np.cumsum(histogram.positive.counts)
    # A duration on a bound is of the bucket below it, but for the last bit of the bound.
    assert (np.searchsorted(above, uppers * (1 + 1e-12), side="right") == cumulative).all()


def test_exemplars_are_of_their_bucket() -> None:
    """The slowest span of a key is an exemplar of the bucket it was counted in."""
    rows = read(report(span("1", duration=3_000), span("2", duration=400_000)))
    (exemplar,) = rows.exemplars
    assert dict(rows.series[exemplar.series].labels)["le"] == "0.5"
    assert dict(exemplar.labels) == {"trace_id": "0" * 15 + "1", "span_id": "0" * 15 + "2"}
    assert exemplar.value == 0.4


def test_graph_has_counters_and_both_sides() -> None:
    """Calls are counters and histograms of both sides; one whose server is silent has one side."""
    graph = ServiceGraph(wait_ms=0)
    calls = [
        span("a", kind="CLIENT", service="web", duration=9_000),
        span("b", parent="a", service="shop", error=True),
        span("c", kind="CLIENT", service="web", remote="db"),
    ]
    graph.observe([columns(*calls)], NOW - 7)
    (body,) = graph_bodies(NOW, graph.read()["default"])
    rows = read(body)
    found = floats(rows)
    of = "traces_service_graph_request"
    both = {"client": "web", "server": "shop"}
    virtual = {"client": "web", "server": "db", "connection_type": "virtual_node"}
    for labels, failed in ((both, 1), (virtual, 0)):
        assert found[_labels(f"{of}_total", labels)] == (1, NOW - 7)
        assert found[_labels(f"{of}_failed_total", labels)] == (failed, NOW - 7)
    assert found[_labels(f"{of}_client_seconds_sum", both)][0] == pytest.approx(0.009)
    assert found[_labels(f"{of}_server_seconds_count", both)] == (1, NOW - 7)
    assert _labels(f"{of}_server_seconds_count", virtual) not in found
    assert {one.metric: one.type for one in rows.metadata} == {
        f"{of}_total": "counter",
        f"{of}_failed_total": "counter",
        f"{of}_server_seconds": "histogram",
        f"{of}_client_seconds": "histogram",
    }


def test_a_series_keeps_its_number() -> None:
    """A key that was seen before has the series it had, and forgetting all changes no label."""
    series = SpanSeries(most=20)
    first = read(report(span("1")), series)
    again = read(report(span("1"), span("2", name="put /")), series)
    assert first.series.table is again.series.table
    assert set(first.series.numbers) < set(again.series.numbers)
    anew = read(report(span("1")), series)
    assert anew.series.table is not first.series.table
    assert floats(anew) == floats(first)


def test_a_key_beyond_the_limits_is_told() -> None:
    """A name longer than labels may be is left out, told each time, and the others are taken."""
    series = SpanSeries(LabelLimits(value_bytes=40))
    body = report(span("1", name="get /"), span("2", name="get /" + 40 * "a"))
    for _ in range(2):
        rows = read(body, series)
        (problem,) = rows.problems
        assert problem.reason == "invalid_labels"
        assert "span_name" in problem.text
        assert {dict(key)["span_name"] for key in floats(rows)} == {"get /"}
        assert len(rows.histograms) == len(rows.exemplars) == 1


def test_an_exemplar_of_a_later_moment_costs_no_report() -> None:
    """A span that comes while the report is written is its exemplar; one of no time is left out."""
    for ahead, exemplars in ((1, 1), (3_600_000, 0)):
        rows = read(report(span("1"), began=NOW + ahead))
        assert len(rows.histograms) == 1
        assert len(rows.exemplars) == exemplars


def test_keys_beyond_the_limits_are_forgotten_too() -> None:
    """Keys that can have no series take room as those that have: at the bound all is begun anew."""
    series = SpanSeries(LabelLimits(value_bytes=40), most=20)
    first = read(report(span("1")), series)
    read(report(*(span("1", name=f"{n}" + 40 * "a") for n in range(21))), series)
    assert read(report(span("1")), series).series.table is not first.series.table


def test_large_reports_are_cut() -> None:
    """Of many keys each is in one of several bodies."""
    metrics = SpanMetrics(most_keys=1_000)
    metrics.observe([columns(*(span("1", name=f"n{n}") for n in range(600)))], NOW)
    bodies = list(span_bodies(NOW, metrics.read()["default"], {}))
    names = [dict(key)["span_name"] for body in bodies for key in floats(read(body))]
    assert len(bodies) > 1
    assert len(names) == 600 * (len(BOUNDS) + 3)
    assert len(set(names)) == 600


def altered(**changes: Any) -> bytes:
    body = msgspec.msgpack.decode(report(span("1")), type=Body)
    (histograms,) = body.histograms
    for name, value in changes.items():
        owner = next(one for one in (body, histograms, histograms.columns) if hasattr(one, name))
        setattr(owner, name, value)
    return write(body)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "truncated"),
        (altered(time_ms=NOW * 2), "out of bounds"),
        (altered(sums=b""), "not of one length"),
        (altered(sums=b"123"), "buffer size"),
        (altered(native_sizes=b"\x09\0\0\0"), "native buckets"),
        (altered(keys=[]), "1 rows for 0 keys"),
        (altered(keys=[("server", "shop")]), "4 labels"),
    ],
)
def test_damaged_bodies_are_malformed(body: bytes, text: str) -> None:
    """A body that is not whole is refused with what is wrong with it."""
    with pytest.raises(Malformed, match=re.escape("span metrics: ") + ".*" + text):
        read(body)


@given(st.data())
def test_any_damage_is_malformed_or_read(data: st.DataObject) -> None:
    """Whatever byte is changed, a body is read or refused, and nothing else happens."""
    body = bytearray(report(span("1"), span("2", name="put /", error=True)))
    place = data.draw(st.integers(0, len(body) - 1))
    body[place] = data.draw(st.integers(0, 255))
    try:
        rows = read(bytes(body))
    except Malformed:
        return
    assert len(rows.sample_series) == len(rows.values)
    assert (rows.sample_series < len(rows.series)).all()
