"""What was counted of spans, as bodies of bounded size (:mod:`.span_body`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from .service_graph import EdgeCounts
from .span_body import Body, Columns, Counters, Family, Histograms, KeyExemplar, write
from .span_histograms import DurationColumns
from .span_metrics import SpanCounts, SpanExemplar, SpanKey
from .span_series import Key

DURATION = "lookout_span_duration_seconds"
GRAPH = "traces_service_graph_request"
_SPAN_LABELS = ["kind", "service", "span_name", "status"]
_EDGE_LABELS = ["client", "connection_type", "server"]
#: A body is read on the event loop: 4,000 series, of which it has seen most before.
_KEYS_A_BODY = 250


def span_bodies(
    now_ms: int, counts: SpanCounts, exemplars: Mapping[SpanKey, SpanExemplar]
) -> Iterator[bytes]:
    """``lookout_span_duration_seconds`` by service, span_name, kind and status."""
    family = Family(DURATION, "histogram", "Durations of the spans received.")
    for some in _pieces(len(counts.keys)):
        keys = counts.keys[some]
        labels: list[Key] = [(key.kind, key.service, key.name, key.status) for key in keys]
        found = [
            KeyExemplar(place, one.seconds, one.trace_id, one.span_id, one.time_ms)
            for place, key in enumerate(keys)
            if (one := exemplars.get(key)) is not None
        ]
        columns = Columns.of(_rows(counts.durations, some))
        histograms = Histograms(DURATION, _SPAN_LABELS, labels, columns, found)
        yield write(Body(now_ms, [family], [histograms]))


def graph_bodies(now_ms: int, counts: EdgeCounts) -> Iterator[bytes]:
    """``traces_service_graph_request_*`` by client and server."""
    for some in _pieces(len(counts.edges)):
        keys: list[Key] = [
            (edge.client, edge.connection, edge.server) for edge in counts.edges[some]
        ]
        client, server = _rows(counts.client_seconds, some), _rows(counts.server_seconds, some)
        reported = server.counts > 0
        both = [key for key, seen in zip(keys, reported.tolist(), strict=True) if seen]
        histograms = [
            _histograms("client", keys, client),
            _histograms("server", both, server.take(reported)),
        ]
        started = client.started_ms.astype("<i8").tobytes()
        counters = [
            Counters(f"{GRAPH}_{name}", _EDGE_LABELS, keys, started, of.astype("<i8").tobytes())
            for name, of in (("total", client.counts), ("failed_total", counts.failed[some]))
        ]
        yield write(Body(now_ms, _GRAPH_FAMILIES, histograms, counters))


_GRAPH_FAMILIES = [
    Family(f"{GRAPH}_total", "counter", "Calls from one service to another."),
    Family(f"{GRAPH}_failed_total", "counter", "Failed calls."),
    Family(f"{GRAPH}_server_seconds", "histogram", "As the called service saw it."),
    Family(f"{GRAPH}_client_seconds", "histogram", "As the calling service saw it."),
]


def _histograms(side: str, keys: list[Key], durations: DurationColumns) -> Histograms:
    metric = f"{GRAPH}_{side}_seconds"
    return Histograms(metric, _EDGE_LABELS, keys, Columns.of(durations), [])


def _pieces(count: int) -> list[slice]:
    return [slice(at, at + _KEYS_A_BODY) for at in range(0, count, _KEYS_A_BODY)]


def _rows(durations: DurationColumns, some: slice) -> DurationColumns:
    wanted = np.zeros(len(durations), np.bool_)
    wanted[some] = True
    return durations.take(wanted)
