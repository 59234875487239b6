"""Numbers become text in columns exactly as one by one, and wide answers are streamed."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from lookout_server.query.prometheus.render import format_value, value_texts

from ..promql.properties import THOROUGH
from .test_api import NOW, write

_NUMBERS = st.one_of(
    st.floats(),
    st.integers(-(10**17), 10**17).map(float),
    st.builds(lambda digits, e: digits * 10.0**e, st.floats(-1, 1), st.integers(-9, 23)),
)


@THOROUGH
@given(st.lists(_NUMBERS))
def test_columns_of_numbers_are_written_as_single_ones(numbers: list[float]) -> None:
    """Whatever stands beside it, a number has the text that Go gives it."""
    texts = value_texts(np.array(numbers, dtype=np.float64)).to_pylist()
    assert texts == [format_value(number) for number in numbers]


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (10000000000.1, "10000000000.1"),
        (999999999999999.9, "999999999999999.9"),
        (1e20, "100000000000000000000"),
        (1e21, "1e+21"),
        (0.00001, "0.00001"),
        (0.000001, "0.000001"),
        (9e-7, "9e-07"),
        (-0.0, "-0"),
        (float("-inf"), "-Inf"),
        (float("nan"), "NaN"),
    ],
)
def test_numbers_are_written_as_go_does(number: float, text: str) -> None:
    """No exponent from 1e-6 up to 1e21, as ``strconv`` writes 'f' and 'e'."""
    assert value_texts(np.array([0.5, number])).to_pylist() == ["0.5", text]


@pytest.mark.parametrize("coding", ["identity", "gzip"])
def test_a_wide_answer_is_the_sum_of_its_pieces(client: TestClient, coding: str) -> None:
    """Megabytes of points arrive whole, compressed or not, and without a length known before."""
    samples = [(NOW + at * 15_000, at / 8) for at in range(241)]
    write(client, *(({"__name__": "m", "l": f"{row:04}"}, samples) for row in range(600)))
    window = {"start": NOW / 1000, "end": NOW / 1000 + 3600, "step": 15}
    headers = {"Accept-Encoding": coding}
    parameters = {"query": "m", **window}
    with client.stream("GET", "/api/v1/query_range", params=parameters, headers=headers) as answer:
        assert "content-length" not in answer.headers
        raw = b"".join(answer.iter_raw())
    body = gzip.decompress(raw) if coding == "gzip" else raw
    found = json.loads(body)["data"]["result"]
    assert [series["metric"]["l"] for series in found] == [f"{row:04}" for row in range(600)]
    expected = [[at / 1000, format_value(value)] for at, value in samples]
    assert all(series["values"] == expected for series in found)
