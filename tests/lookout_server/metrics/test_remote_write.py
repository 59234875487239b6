"""Remote write becomes columns, fast for the usual shapes and right for all others."""

from __future__ import annotations

import contextlib
import math
import struct
from typing import Any

import cramjam
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lookout_server.ingest import remote_write, remote_write_v2
from lookout_server.ingest.remote_write import LabelCache
from lookout_server.ingest.remote_write_messages import RequestV2, WriteRequest
from lookout_server.metrics.rows import MetricRows
from lookout_server.metrics.series import LabelLimits
from lookout_server.query.prometheus.source import STALE, STALE_BITS
from lookout_server.signal import Malformed, Receipt

NOW = 1_700_000_000_000
RECEIPT = Receipt("default", NOW, {})

#: Times that take one to seven bytes as varints, negative ones (ten) and too late ones.
TIMES = st.sampled_from([0, 1, 127, 128, 40_000, 10**9, NOW - 1, NOW, -1, NOW + 3_600_000])
VALUES = st.one_of(st.just(0.0), st.just(-0.0), st.just(STALE), st.floats(width=64))
TEXTS = st.sampled_from(["a", "b", "", "\x12\x10\x09", "é", "x" * 200])
LABELS = st.dictionaries(st.sampled_from(["__name__", "job", "z"]), TEXTS, max_size=3)


def compress(message: Any) -> bytes:
    return bytes(cramjam.snappy.compress_raw(message.SerializeToString()))


def decode(message: Any, cache: LabelCache | None = None) -> MetricRows:
    return remote_write.decode(compress(message), RECEIPT, cache or LabelCache())


def samples(rows: MetricRows) -> list[tuple[dict[str, str], int, bytes]]:
    """Labels, time and bits of the value of each sample, series by series."""
    return [
        (dict(rows.series[index].labels), time, struct.pack("<d", value))
        for index, time, value in zip(
            rows.sample_series.tolist(), rows.timestamps.tolist(), rows.values.tolist(), strict=True
        )
    ]


def request_of(series: list[tuple[dict[str, str], list[tuple[int, float]]]]) -> Any:
    request = WriteRequest()
    for labels, points in series:
        one = request.timeseries.add()
        for name, value in labels.items():
            one.labels.add(name=name, value=value)
        for time, value in points:
            one.samples.add(timestamp=time, value=value)
    return request


@given(st.lists(st.tuples(LABELS, st.lists(st.tuples(TIMES, VALUES), max_size=4)), max_size=5))
def test_every_shape_of_body(
    series: list[tuple[dict[str, str], list[tuple[int, float]]]],
) -> None:
    """Whatever the shapes of samples and labels, and again with a warm cache, nothing differs."""
    expected = [
        ({name: text for name, text in labels.items() if text}, time, struct.pack("<d", value))
        for labels, points in series
        if labels.get("__name__")
        for time, value in points
        if 0 <= time <= NOW + 600_000
    ]
    cache = LabelCache()
    message = request_of(series)
    for _ in range(2):
        assert samples(decode(message, cache)) == expected


def test_a_series_twice_in_a_body() -> None:
    """Of two samples of one time the last in the body comes last, whatever their shapes."""
    m, other = {"__name__": "m"}, {"__name__": "n"}
    request = request_of(
        [(m, [(NOW, 0.0)]), (other, [(NOW, 7.0)]), (m, [(NOW, 1.0)]), (m, [(NOW, 0.0), (1, 2.0)])]
    )
    cache = LabelCache()
    for _ in range(2):
        found = [time_and_value[1:] for time_and_value in samples(decode(request, cache))]
        zero, one, two, seven = (struct.pack("<d", value) for value in (0.0, 1.0, 2.0, 7.0))
        assert found == [(NOW, zero), (NOW, seven), (NOW, one), (NOW, zero), (1, two)]


def test_a_full_table_is_replaced() -> None:
    """What is remembered of label sets stays within its bound, and bodies mean the same."""
    cache = LabelCache(capacity=2_000)
    for number in range(50):
        request = request_of([({"__name__": "m", "n": str(number)}, [(NOW, 1.0)])])
        assert samples(decode(request, cache))[0][0] == {"__name__": "m", "n": str(number)}
        assert cache.table().bytes <= 2_000


def second_of(series: list[tuple[dict[str, str], list[tuple[int, float]]]]) -> Any:
    """The same in 2.0, with metadata at every second series."""
    request = RequestV2()
    symbols = {"": 0}
    for number, (labels, points) in enumerate(series):
        one = request.timeseries.add()
        for text in (text for pair in labels.items() for text in pair):
            one.labels_refs.append(symbols.setdefault(text, len(symbols)))
        for time, value in points:
            one.samples.add(timestamp=time, value=value)
        if number % 2:
            one.metadata.type = 1
            one.metadata.help_ref = symbols.setdefault("help", len(symbols))
    request.symbols.extend(text.encode() for text in symbols)
    return request


@given(st.lists(st.tuples(LABELS, st.lists(st.tuples(TIMES, VALUES), max_size=4)), max_size=200))
def test_version_2_is_read_as_version_1(
    series: list[tuple[dict[str, str], list[tuple[int, float]]]],
) -> None:
    """Both versions of a body mean the same samples and problems, whatever their shapes."""
    cache = LabelCache()
    expected = decode(request_of(series), cache)
    for _ in range(2):
        found = remote_write_v2.decode(compress(second_of(series)), RECEIPT, cache)
        assert samples(found) == samples(expected)
        assert [(p.reason, p.samples) for p in found.problems] == [
            (p.reason, p.samples) for p in expected.problems
        ]
        names = {labels["__name__"] for labels, _ in series[1::2] if labels.get("__name__")}
        assert {(told.metric, told.type, told.help) for told in found.metadata} == {
            (name, "counter", "help") for name in names
        }


@given(st.binary(max_size=200))
def test_arbitrary_bytes(body: bytes) -> None:
    """Bytes that are no request are Malformed, never anything else."""
    for data in (body, bytes(cramjam.snappy.compress_raw(body))):
        for decoder in (remote_write.decode, remote_write_v2.decode):
            with contextlib.suppress(Malformed):
                decoder(data, RECEIPT, LabelCache())


def test_a_label_value_that_looks_like_a_sample() -> None:
    """The bytes of a sample inside of a label value do not confuse the fast way."""
    odd = "\x12\x10\x09" + "x" * 15
    request = request_of([({"__name__": "m", "z": odd}, [(NOW, 1.0)])])
    cache = LabelCache()
    for _ in range(3):
        assert samples(decode(request, cache)) == [
            ({"__name__": "m", "z": odd}, NOW, struct.pack("<d", 1.0))
        ]


def test_stale_bits() -> None:
    """A staleness marker keeps its bits, another NaN its own."""
    rows = decode(request_of([({"__name__": "m"}, [(NOW, STALE), (NOW + 1, math.nan)])]))
    assert (rows.values.view(np.uint64) == STALE_BITS).tolist() == [True, False]


def test_invalid_series_are_left_out() -> None:
    """A series without a name, or with a label twice, is counted and the rest kept."""
    request = request_of([({"job": "x"}, [(NOW, 1.0)]), ({"__name__": "m"}, [(NOW, 2.0)])])
    one = request.timeseries.add()
    for value in ("a", "b"):
        one.labels.add(name="__name__", value=value)
    one.samples.add(timestamp=NOW, value=1.0)
    cache = LabelCache()
    for _ in range(2):
        rows = decode(request, cache)
        assert [dict(series.labels) for series in rows.series] == [{"__name__": "m"}]
        assert [(p.reason, p.samples) for p in rows.problems] == [("invalid_labels", 2)]


def test_limits_on_labels() -> None:
    """A label set beyond its limits is refused with what it has and what is allowed."""
    cache = LabelCache(LabelLimits(names=2, name_bytes=10, value_bytes=10))
    request = request_of(
        [
            ({"__name__": "m", "a": "1", "b": "2"}, [(NOW, 1.0)]),
            ({"__name__": "m", "a": "é" * 6}, [(NOW, 1.0)]),
        ]
    )
    (problem,) = decode(request, cache).problems
    assert problem.samples == 2
    assert problem.text.startswith("series has 3 labels, the limit is 2")


def test_too_early_and_too_late() -> None:
    """Samples of the far future or before 1970 are told, not taken."""
    request = request_of([({"__name__": "m"}, [(NOW + 700_000, 1.0), (-5, 1.0), (NOW, 2.0)])])
    rows = decode(request)
    assert rows.values.tolist() == [2.0]
    assert [(p.reason, p.samples) for p in rows.problems] == [("out_of_bounds", 2)]


def test_exemplars_and_metadata() -> None:
    """Exemplars and metadata come along."""
    request = request_of([({"__name__": "m_total"}, [(NOW, 1.0)])])
    exemplar = request.timeseries[0].exemplars.add(value=0.5, timestamp=NOW)
    exemplar.labels.add(name=b"trace_id", value=b"abc")
    request.metadata.add(type=1, metric_family_name=b"m_total", help=b"Hits.", unit=b"")
    rows = decode(request)
    assert rows.exemplars[0].labels == (("trace_id", "abc"),)
    assert (rows.metadata[0].type, rows.metadata[0].help) == ("counter", "Hits.")


def integer_histogram(series: Any, **fields: Any) -> Any:
    message = series.histograms.add(
        timestamp=NOW, schema=0, count_int=6, sum=18.4, zero_count_int=1, zero_threshold=0.01
    )
    message.positive_spans.add(offset=0, length=2)
    message.positive_deltas.extend([2, 1])
    for name, value in fields.items():
        setattr(message, name, value)
    return message


def test_histograms() -> None:
    """Integer histograms get absolute counts; a contradictory one is told, not taken."""
    request = WriteRequest()
    one = request.timeseries.add()
    one.labels.add(name="__name__", value="h")
    integer_histogram(one)
    integer_histogram(one, count_int=9)
    rows = decode(request)
    (sample,) = rows.histograms
    assert sample.histogram.positive.counts.tolist() == [2.0, 3.0]
    assert sample.histogram.positive.indices.tolist() == [0, 1]
    (problem,) = rows.problems
    assert problem.reason == "invalid_histogram"
    assert "observations found in buckets" in problem.text


def test_stale_histogram_is_a_stale_sample() -> None:
    """The staleness marker of a histogram series ends it like any other."""
    request = WriteRequest()
    one = request.timeseries.add()
    one.labels.add(name="__name__", value="h")
    one.histograms.add(timestamp=NOW, count_int=0, sum=STALE)
    rows = decode(request)
    assert not rows.histograms
    assert rows.values.view(np.uint64).tolist() == [STALE_BITS]


STARTS = st.sampled_from([0, 1, 10**9, NOW - 5, NOW])


@given(st.lists(st.lists(st.tuples(TIMES, VALUES, STARTS), max_size=3), min_size=1, max_size=9))
def test_start_times(series: list[list[tuple[int, float, int]]]) -> None:
    """Each sample keeps the time its counter began at, seen for the first time or again."""
    request = WriteRequest()
    expected = []
    for number, points in enumerate(series):
        one = request.timeseries.add()
        one.labels.add(name="__name__", value=f"m{number}")
        for time, value, start in points:
            one.samples.add(timestamp=time, value=value, start_timestamp=start)
            if 0 <= time <= NOW + 600_000:
                expected.append((f"m{number}", time, struct.pack("<d", value), start))
    cache = LabelCache()
    for _ in range(2):
        rows = decode(request, cache)
        starts = [0] * len(expected) if rows.starts is None else rows.starts.tolist()
        assert [
            (labels["__name__"], time, value, start)
            for (labels, time, value), start in zip(samples(rows), starts, strict=True)
        ] == expected


def version_2() -> Any:
    request = RequestV2()
    request.symbols.extend([b"", b"__name__", b"m", b"job", b"x", b"Help.", b"trace_id", b"t"])
    one = request.timeseries.add(created_timestamp=NOW - 1000)
    one.labels_refs.extend([1, 2, 3, 4])
    one.samples.add(timestamp=NOW, value=1.0)
    one.samples.add(timestamp=NOW + 1, value=2.0, start_timestamp=NOW - 5)
    exemplar = one.exemplars.add(value=1.0, timestamp=NOW)
    exemplar.labels_refs.extend([6, 7])
    one.metadata.type = 2
    one.metadata.help_ref = 5
    return request


def test_version_2() -> None:
    """Symbols are resolved, start times and metadata kept."""
    rows = remote_write_v2.decode(compress(version_2()), RECEIPT, LabelCache())
    assert rows.series[0].labels == (("__name__", "m"), ("job", "x"))
    assert rows.values.tolist() == [1.0, 2.0]
    assert rows.starts is not None and rows.starts.tolist() == [NOW - 1000, NOW - 5]
    assert rows.exemplars[0].labels == (("trace_id", "t"),)
    assert (rows.metadata[0].metric, rows.metadata[0].type) == ("m", "gauge")


def test_version_2_identity_is_that_of_version_1() -> None:
    """A series is the same whichever version and order of labels it is sent in."""
    first = remote_write_v2.decode(compress(version_2()), RECEIPT, LabelCache()).series[0]
    second = decode(request_of([({"job": "x", "__name__": "m"}, [(NOW, 1.0)])])).series[0]
    assert (first.id, first.mid) == (second.id, second.mid)


def test_version_2_labels_that_are_none() -> None:
    """No labels, or texts that are not UTF-8, are invalid; neither is taken for another series."""
    request = version_2()
    request.symbols.extend([b"m\xffjob\xffx", b"\xff"])
    for refs in ([], [1, 8], [1, 2, 3, 9]):
        request.timeseries.add(labels_refs=refs).samples.add(timestamp=NOW, value=3.0)
    cache = LabelCache()
    for _ in range(2):
        rows = remote_write_v2.decode(compress(request), RECEIPT, cache)
        assert [series.labels for series in rows.series] == [(("__name__", "m"), ("job", "x"))]
        assert [(p.reason, p.samples) for p in rows.problems] == [("invalid_labels", 3)]


def test_version_2_bad_reference() -> None:
    """A reference outside of the symbols is Malformed and says so."""
    request = version_2()
    request.timeseries[0].labels_refs.append(99)
    with pytest.raises(Malformed, match="symbol reference 99"):
        remote_write_v2.decode(compress(request), RECEIPT, LabelCache())


def test_snappy_bomb() -> None:
    """A body that says it becomes gigabytes is refused before it does."""
    with pytest.raises(Malformed, match="too large"):
        remote_write.decompress(b"\xff\xff\xff\xff\x0f" + b"x" * 10)
