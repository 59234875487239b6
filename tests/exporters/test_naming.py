"""One function names metrics for Prometheus: these are the names dashboards rely on."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporters.naming import (
    UNIT_WORDS,
    escaped_name,
    is_legal_name,
    prometheus_label,
    prometheus_labels,
    prometheus_name,
)

MTYPES = ("", "rate", "count", "gauge", "counter", "timestamp", "histogram", "summary", "info")


@pytest.mark.parametrize(
    ("name", "unit", "mtype", "expected"),
    [
        ("http.server.request.duration", "s", "histogram", "http_server_request_duration_seconds"),
        ("requests", "1", "counter", "requests_total"),
        ("requests_total", "{request}", "counter", "requests_total"),
        ("a.total.b", "", "counter", "a_b_total"),
        ("cpu", "1", "gauge", "cpu_ratio"),
        ("cpu_ratio", "1", "gauge", "cpu_ratio"),
        ("cpu", "%", "gauge", "cpu_percent"),
        ("network.io", "By", "counter", "network_io_bytes_total"),
        ("network.io", "B", "counter", "network_io_bytes_total"),
        ("network.bytes", "By", "counter", "network_bytes_total"),
        ("network", "By/s", "rate", "network_bytes_per_second"),
        ("disk", "GiB", "gauge", "disk_gibibytes"),
        ("room", "Cel", "gauge", "room_celsius"),
        ("last.success", "s", "timestamp", "last_success_timestamp_seconds"),
        ("start_timestamp_seconds", "s", "timestamp", "start_timestamp_seconds"),
        ("build", "", "info", "build_info"),
        ("build_info", "", "info", "build_info"),
        ("system.io", "foo/bar", "gauge", "system_io_foo_per_bar"),
        ("queue", "{item}", "gauge", "queue"),
        ("1st", "", "gauge", "_1st"),
        ("a:b", "", "", "a:b"),
        ("a--b..c", "", "", "a_b_c"),
        ("温度", "", "gauge", "U___6e29__5ea6_"),
    ],
)
def test_names(name: str, unit: str, mtype: str, expected: str) -> None:
    """Units become words, suffixes follow the type, nothing is said twice."""
    assert prometheus_name(name, unit, mtype) == expected


@given(
    st.text(min_size=1),
    st.sampled_from(["", "1", "{x}", *UNIT_WORDS, "x/s"]),
    st.sampled_from(MTYPES),
)
def test_every_name_is_legal_and_stable(name: str, unit: str, mtype: str) -> None:
    """Whatever the name, every Prometheus accepts the result; naming it again changes nothing."""
    result = prometheus_name(name, unit, mtype)
    assert is_legal_name(result)
    if not result.startswith(("U__", "_")):
        assert prometheus_name(result, unit, mtype) == result


@given(st.text(min_size=1), st.text(min_size=1))
def test_escaping_loses_nothing(one: str, other: str) -> None:
    """Two names have one escaped name only if they are the same."""
    assert is_legal_name(escaped_name(one))
    assert (escaped_name(one) == escaped_name(other)) == (one == other)


@given(st.text(min_size=1))
def test_every_label_is_legal_and_not_reserved(key: str) -> None:
    """Names that begin with two underscores belong to Prometheus."""
    label = prometheus_label(key)
    assert re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_]*", label)
    assert not label.startswith("__")


def test_colliding_labels_are_joined() -> None:
    """Values of keys that become one label are joined in the order of the keys."""
    assert prometheus_labels([("a.b", "1"), ("a_b", "2"), ("c", "3")]) == [
        ("a_b", "1;2"),
        ("c", "3"),
    ]
