"""Propagation against the recorded vectors of Brave's B3 extractor and W3C's own test suite."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tracer import SpanContext
from tracer.propagation import b3, w3c
from tracer.propagation.carriers import headers
from tracer.propagation.composite import composite

HERE = Path(__file__).resolve().parents[2]
FOLDER = (
    Path(os.environ.get("LOOKOUT_CONFORMANCE") or HERE.parent / "shared" / "conformance")
    / "propagation"
)


def vectors(name: str) -> list[Any]:
    file = FOLDER / name
    if not file.exists():
        skip = pytest.mark.skip(reason=f"no conformance data in {FOLDER} (set LOOKOUT_CONFORMANCE)")
        return [pytest.param(None, marks=skip)]
    return [json.loads(line) for line in file.read_text().splitlines() if line.strip()]


def b3_view(context: SpanContext | None) -> dict[str, Any]:
    """An extracted context in the words of the vectors."""
    if context is None:
        return {"ids": None, "sampled": None, "debug": False}
    if not context.trace_id:
        return {"ids": None, "sampled": context.sampled, "debug": context.debug}
    return {
        "traceId": b3.format_trace_id(context.trace_id),
        "spanId": f"{context.span_id:016x}",
        "parentSpanId": f"{context.parent_id:016x}" if context.parent_id else None,
        "sampled": context.sampled,
        "debug": context.debug,
    }


@pytest.mark.parametrize("case", vectors("b3.jsonl"), ids=lambda c: c and c["name"])
def test_b3_headers_are_read_as_brave_reads_them(case: dict[str, Any]) -> None:
    """Every recorded header set gives the context Brave makes of it, from any carrier."""
    for carrier in (case["headers"], list(case["headers"].items()), headers(case["headers"])):
        assert b3_view(b3.extract(carrier)) == case["extracted"]


@pytest.mark.parametrize("case", vectors("w3c.jsonl"), ids=lambda c: c and c["test"])
@pytest.mark.parametrize("through_composite", [False, True])
def test_w3c_headers_are_read_as_the_standard_says(
    case: dict[str, Any], through_composite: bool
) -> None:
    """A valid traceparent continues the trace, an invalid one begins another, and the tracestate
    goes along unchanged or not at all."""
    headers = [tuple(pair) for pair in case["headers"]]
    reader = composite(["tracecontext", "b3", "baggage"], ["tracecontext"])
    context = reader.extract(headers) if through_composite else w3c.extract(headers)
    expect = case["expect"]
    if not expect["same_trace_id"]:
        assert context is None
        return
    assert context is not None
    assert f"{context.trace_id:032x}" == expect["trace_id"]
    assert f"{context.span_id:016x}" == expect["parent_id_in"]
    assert context.sampled == bool(expect["flags"] & 1)
    sent: dict[str, str] = {}
    reader.inject(sent, context)
    assert sent["traceparent"].split("-")[1] == expect["trace_id"]
    out = [m.partition("=") for m in sent.get("tracestate", "").split(",") if m]
    members = {key: value for key, _, value in out}
    assert members == dict(map(tuple, expect["tracestate_out"]))
