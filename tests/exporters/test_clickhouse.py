"""Spans straight into ClickHouse: the rows are the collector's."""

from __future__ import annotations

import datetime
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from exporters.clickhouse import Batch, ClickHouseDestination, tables
from exporters.destination import Deadline
from exporters.ledger import Ledger
from exporters.records import DEBUG, SHARED, EventRecord
from exporters.sender import Limits
from exporters.zipkin_json import ZipkinEncoder

RECEIVED_MS = 1_700_000_100_000


@pytest.fixture
def records(span: Any) -> list[Any]:
    """Spans that exercise every column."""
    events = [EventRecord(1_700_000_000_200_000_000, "b", None), EventRecord(10**18, "a", None)]
    return [
        span(),
        span(span_id=2, kind=2, name="GET /", parent_id=3, tags={"peer.service": "Stock"}),
        span(span_id=3, kind=1, flags=1 | SHARED, status=2, tags={"a=b\\c": "1", "k": "v=w"}),
        span(span_id=4, kind=3, flags=1 | DEBUG, events=events),
        span(span_id=5, start_ns=0, duration_ns=0),
        span(span_id=6, start_ns=10**16),
        span(trace_id=5, span_id=7, parent_id=7),
        *(span(span_id=100 + n, tags={"order": str(n), "zone": str(n % 2)}) for n in range(200)),
    ]


def test_rows_are_those_of_the_collector(records: list[Any]) -> None:
    """Column by column what the collector makes of the same spans."""
    pytest.importorskip("pyarrow")
    zipkin_json = pytest.importorskip("lookout_server.ingest.zipkin_json")
    columns = pytest.importorskip("lookout_server.spans.tables")
    packed = pytest.importorskip("lookout_server.spans.packed")
    body = ZipkinEncoder().encode(records)
    decoded = zipkin_json.decode(body)
    decoded.tenant, decoded.received_ms = "acme", RECEIVED_MS
    theirs = columns.span_tables([packed.PackedSpans(decoded, packed.Words())], ())
    encoder = ZipkinEncoder()
    ours = tables(encoder.spans(records), Batch("acme", RECEIVED_MS * 1000))
    assert set(ours) == set(theirs)
    for table, mine in ours.items():
        assert set(mine) == set(theirs[table].column_names), table
        for name, values in mine.items():
            expected = theirs[table].column(name).to_pylist()
            if table in {"trace_index", "span_names", "span_counts"}:  # sets, in no order
                assert sorted(values) == sorted(expected), (table, name)
            else:
                assert values == expected, (table, name)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A migrated database on a real server."""
    pytest.importorskip("clickhouse_driver")
    path = Path(__file__).parents[1] / "lookout_server" / "clickhouse.py"
    spec = importlib.util.spec_from_file_location("clickhouse_process", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    import sys

    sys.modules["clickhouse_process"] = module
    spec.loader.exec_module(module)
    if not module.LIBRARY.exists():
        pytest.skip(module.MISSING)
    server = module.ClickHouseServer(tmp_path_factory.mktemp("clickhouse"), module.free_port())
    server.start()
    from lookout_server.store.migrations import migrate
    from lookout_server.store.server import ServerStore
    from lookout_server.store.template import Dialect

    store = ServerStore(server.url)
    migrate(store, Dialect())
    yield store, server
    store.close()
    server.stop()


def test_spans_are_inserted_once(database: Any, records: list[Any]) -> None:
    """On a real server: all rows, in all tables, and a repeated batch inserts nothing."""
    store, server = database
    destination = ClickHouseDestination(server.url, limits=Limits(linger_s=0.01, timeout_s=20))
    ledger = Ledger("shop")
    destination.open(ledger)
    now = int(datetime.datetime.now().timestamp() * 1e9)
    for each in records:
        each.start_ns = now
    ledger.create(len(records))
    destination.accept(records)
    assert destination.flush(Deadline(30))
    transport = destination._transport
    body = ZipkinEncoder().encode(records)
    from exporters.parcel import Parcel

    _, _, headers = transport.parcel(body)
    transport.deliver(Parcel(body, len(records), "p", "", dict(headers)), "", 20)
    assert destination.shutdown(Deadline(5))
    for table, expected in (("spans", len(records)), ("span_search", len(records))):
        (count,) = store.fetch(f"SELECT count() FROM {table}").column(0).to_pylist()
        assert count == expected, table
    names = store.fetch("SELECT value FROM span_names WHERE what = 'service'")
    assert names.column(0).to_pylist() == ["shop"]
    assert ledger.report("clickhouse").acknowledged == len(records)


def test_the_opentelemetry_sdk_exports_to_it(database: Any) -> None:
    """The plain SDK with our exporter: its trace is in the tables the collector reads."""
    trace = pytest.importorskip("opentelemetry.sdk.trace")
    export = pytest.importorskip("opentelemetry.sdk.trace.export")
    from exporters.opentelemetry import ClickHouseSpanExporter

    store, server = database
    exporter = ClickHouseSpanExporter(server.url, limits=Limits(linger_s=0.01, timeout_s=20))
    provider = trace.TracerProvider()
    provider.add_span_processor(export.BatchSpanProcessor(exporter))
    with provider.get_tracer("t").start_as_current_span("sdk order") as span:
        span.set_attribute("items", 3)
    assert provider.force_flush(20_000)
    provider.shutdown()
    number = span.get_span_context().trace_id
    found = store.fetch(f"SELECT name FROM spans WHERE low = {number & 2**64 - 1}")
    assert found.column(0).to_pylist() == ["sdk order"]
    assert exporter.ledger.report("clickhouse").acknowledged == 1


def test_a_server_that_is_not_there_is_waited_for(span: Any, closed_port: int) -> None:
    """Spans wait, and the exit keeps its deadline."""
    pytest.importorskip("clickhouse_driver")
    destination = ClickHouseDestination(f"clickhouse://127.0.0.1:{closed_port}/default")
    ledger = Ledger("shop")
    destination.open(ledger)
    ledger.create(1)
    destination.accept([span()])
    assert not destination.shutdown(Deadline(2))
    assert ledger.report("clickhouse").dropped == {"shutdown": 1}
