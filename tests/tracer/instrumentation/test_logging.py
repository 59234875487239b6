"""Log lines find their way to the trace, and a trace to its log lines."""

from __future__ import annotations

import io
import logging
import logging.handlers
import queue
from collections.abc import Iterator

import pytest

from tracer.api import start_span
from tracer.instrumentation.logging import (
    TraceFilter,
    TraceFormatter,
    add_sofa_trace,
    add_trace,
    trace_fields,
)
from tracer.testing import Recorder


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    """A logger of the test's own, whose handlers go with it."""
    found = logging.getLogger("tests.correlation")
    found.setLevel(logging.INFO)
    found.propagate = False
    yield found
    found.handlers.clear()


def test_a_filter_adds_what_the_format_names(traces: Recorder, logger: logging.Logger) -> None:
    """Plain ids and SOFATracer's, both of the current span; empty outside one."""
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.addFilter(TraceFilter())
    handler.setFormatter(
        logging.Formatter("[%(trace_id)s %(span_id)s %(SOFA-TraceId)s %(SOFA-SpanId)s] %(message)s")
    )
    logger.addHandler(handler)
    with start_span("outer"), start_span("inner"):
        logger.info("in")
    logger.info("out")
    trace_id = "00000000000000000000000000000001"
    assert out.getvalue().splitlines() == [
        f"[{trace_id} 0000000000000002 {trace_id} 0.1] in",
        "[   ] out",
    ]


def test_the_formatter_needs_no_filter(traces: Recorder, logger: logging.Logger) -> None:
    """Its default format names the ids."""
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(TraceFormatter())
    logger.addHandler(handler)
    with start_span("a"):
        logger.warning("careful")
    line = out.getvalue()
    assert "WARNING tests.correlation [trace_id=0000000000000000000000000000000" in line
    assert "span_id=0000000000000001] careful" in line


def test_a_record_keeps_its_span_across_a_queue(traces: Recorder, logger: logging.Logger) -> None:
    """A filter before the queue is what counts, not the thread that formats."""
    records: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
    handler = logging.handlers.QueueHandler(records)
    handler.addFilter(TraceFilter())
    logger.addHandler(handler)
    with start_span("a"):
        logger.info("later")
    with start_span("b"):
        line = TraceFormatter("%(span_id)s").format(records.get())
    assert line == "0000000000000001"


def test_structlog_gets_the_ids(traces: Recorder) -> None:
    """As a processor: keys inside a span, none outside."""
    structlog = pytest.importorskip("structlog")
    log = structlog.wrap_logger(
        structlog.ReturnLogger(),
        processors=[add_trace, add_sofa_trace, structlog.processors.KeyValueRenderer()],
    )
    with start_span("a"):
        assert log.info("hello") == (
            "event='hello' trace_id='00000000000000000000000000000001' "
            "span_id='0000000000000001' "
            "SOFA-TraceId='00000000000000000000000000000001' SOFA-SpanId='0'"
        )
    assert log.info("hello") == "event='hello'"


def test_outside_any_span_the_fields_are_empty(traces: Recorder) -> None:
    """So that a format that names them never fails."""
    assert set(trace_fields().values()) == {""}
