"""Parameters arrive in ClickHouse as the values they were."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lookout_server.store.port import Store

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def _echo(store: Store, kind: str, value: Any) -> Any:
    return store.fetch(f"SELECT {{x:{kind}}} AS x", {"x": value}).to_pylist()[0]["x"]


@given(texts)
@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_text(any_store: Store, value: str) -> None:
    """Any text, quotes, backslashes and control characters included, is itself."""
    assert _echo(any_store, "String", value) == value


@given(st.lists(texts, max_size=4))
@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_texts(any_store: Store, value: list[str]) -> None:
    """The same inside of arrays."""
    assert _echo(any_store, "Array(String)", value) == value


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("UInt64", 2**64 - 1),
        ("Int64", -(2**63)),
        ("Float64", float("inf")),
        ("Nullable(String)", None),
        ("Bool", True),
        ("FixedString(4)", b"\x00\xff'\\"),
        ("Array(FixedString(2))", [b"\x00\xff", b"'\\"]),
        ("Array(UInt64)", [1, 2**64 - 1]),
        ("Array(Array(String))", [["a'"], []]),
        ("Map(String, String)", {"k'": "v\\"}),
    ],
)
def test_values(any_store: Store, kind: str, value: Any) -> None:
    """Numbers, bytes, nulls and containers are themselves."""
    got = _echo(any_store, kind, value)
    assert (dict(got) if isinstance(value, dict) else got) == value
