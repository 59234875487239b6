"""From the bytes of a body to rows of metrics: what decoding needs, and nothing of the store."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeAlias

from ..signal import Malformed, Receipt
from . import span_body, span_rows
from .rows import MetricRows
from .series import LabelLimits
from .span_series import SpanSeries

Decoder: TypeAlias = Callable[[bytes, Receipt], MetricRows]


class MetricReader:
    """Reads bodies of every format, with a memory of label sets of its own."""

    def __init__(self, limits: LabelLimits) -> None:
        self._decoders = _decoders(limits)

    def read(self, fmt: str, body: bytes, receipt: Receipt) -> MetricRows:
        """Rows of one body, of however many series. Raises Malformed."""
        decoder = self._decoders.get(fmt)
        if decoder is None:
            raise Malformed(f"unknown format {fmt!r}; known: {', '.join(self._decoders)}")
        return decoder(body, receipt)


def _decoders(limits: LabelLimits) -> Mapping[str, Decoder]:
    # Imported here: the decoders are made of this package's rows.
    from ..ingest import (
        lookout_lines,
        metricbeat,
        opentsdb,
        otlp_metrics,
        prometheus_push,
        remote_write,
        remote_write_v2,
    )

    cache = remote_write.LabelCache(limits)
    span_series = SpanSeries(limits)
    return {
        "remote_write": partial(remote_write.decode, cache=cache),
        "remote_write_v2": partial(remote_write_v2.decode, cache=cache),
        "otlp_protobuf": partial(otlp_metrics.decode_protobuf, limits=limits),
        "otlp_json": partial(otlp_metrics.decode_json, limits=limits),
        "lookout_lines": lookout_lines.decode,
        "prometheus_gateway": prometheus_push.decode_gateway,
        "pushgateway": partial(prometheus_push.decode_pushgateway, limits=limits),
        "opentsdb": opentsdb.decode,
        "metricbeat": metricbeat.decode,
        span_body.FORMAT: partial(span_rows.decode, series=span_series),
    }
