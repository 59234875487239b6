"""OTLP metrics, protobuf and JSON, as Prometheus series.

Names and labels follow the OpenTelemetry specification "Prometheus and OpenMetrics Compatibility",
as Prometheus' own OTLP receiver applies it: units and types become suffixes, the resource becomes
``job``, ``instance`` and the series ``target_info``. Exponential histograms become native ones.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import orjson
from google.protobuf import json_format
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality, DataPointFlags

from exporters.naming import prometheus_label, prometheus_labels, prometheus_name

from ..metrics.rows import MetricRows, RowsBuilder
from ..metrics.series import METRIC_NAME, LabelLimits
from ..query.prometheus.histogram import InvalidHistogram, from_remote_write
from ..query.prometheus.histogram.ingest import NO_SIDE, Side
from ..query.prometheus.numbers import format_float
from ..query.prometheus.source import STALE
from ..signal import Malformed, Receipt

Pairs: TypeAlias = list[tuple[str, str]]

_CUMULATIVE = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
_NO_VALUE = DataPointFlags.DATA_POINT_FLAGS_NO_RECORDED_VALUE_MASK
#: What an exponential histogram without a zero threshold is taken to have.
_ZERO_THRESHOLD = 1e-128
_MAX_SCHEMA, _MIN_SCHEMA = 8, -4
_IDENTITY = {"service.namespace", "service.name", "service.instance.id"}


def decode_protobuf(body: bytes, receipt: Receipt, limits: LabelLimits | None) -> MetricRows:
    """Rows of a binary ``ExportMetricsServiceRequest``. Raises Malformed."""
    try:
        request = ExportMetricsServiceRequest.FromString(body)
    except DecodeError as error:
        raise Malformed(f"the body is no ExportMetricsServiceRequest: {error}") from error
    return translate(request, receipt, limits)


def decode_json(body: bytes, receipt: Receipt, limits: LabelLimits | None) -> MetricRows:
    """Rows of a JSON ``ExportMetricsServiceRequest``. Raises Malformed."""
    try:
        parsed = orjson.loads(body)
        if not isinstance(parsed, dict):
            raise ValueError("it is no JSON object")
        _ids_to_base64(parsed)
        request = json_format.ParseDict(
            parsed, ExportMetricsServiceRequest(), ignore_unknown_fields=True
        )
    except (orjson.JSONDecodeError, json_format.ParseError, RecursionError) as error:
        raise Malformed(f"the body is no ExportMetricsServiceRequest: {error}") from error
    except (AttributeError, TypeError, ValueError) as error:
        raise Malformed(f"the body is no ExportMetricsServiceRequest: {error}") from error
    return translate(request, receipt, limits)


def translate(request: Any, receipt: Receipt, limits: LabelLimits | None) -> MetricRows:
    """Rows of a request."""
    builder = RowsBuilder(receipt.tenant, receipt.received_ms, limits)
    for resource_metrics in request.resource_metrics:
        _Resource(builder, receipt, resource_metrics.resource).take(resource_metrics.scope_metrics)
    return builder.build()


class _Resource:
    """Everything of one resource."""

    def __init__(self, builder: RowsBuilder, receipt: Receipt, resource: Any) -> None:
        self._builder = builder
        self._now_ms = receipt.received_ms
        attributes = {a.key: attribute_text(a.value) for a in resource.attributes}
        self._identity = _identity(attributes)
        self._attributes = attributes
        self._latest = 0

    def take(self, scopes: Iterable[Any]) -> None:
        for scope in scopes:
            for metric in scope.metrics:
                self._take_metric(metric)
        self._target_info()

    def _take_metric(self, metric: Any) -> None:
        kind = metric.WhichOneof("data")
        if kind is None:
            return
        take: Mapping[str, Callable[[Any, str], None]] = {
            "gauge": self._numbers,
            "sum": self._numbers,
            "histogram": self._histograms,
            "exponential_histogram": self._exponentials,
            "summary": self._summaries,
        }
        data = getattr(metric, kind)
        mtype = _type(kind, data)
        name = prometheus_name(metric.name, metric.unit, mtype)
        if not metric.name:
            self._builder.problem("invalid_name", len(data.data_points), "empty metric name")
            return
        if kind in ("sum", "histogram", "exponential_histogram") and not _storable(kind, data):
            self._builder.problem(
                "temporality",
                len(data.data_points),
                f"invalid temporality and type combination for metric {metric.name!r}: "
                "only cumulative sums and histograms can be stored",
            )
            return
        self._builder.metadata(name, mtype, metric.description, metric.unit)
        take[kind](data, name)

    def _numbers(self, data: Any, name: str) -> None:
        counter = bool(getattr(data, "is_monotonic", False))
        for point in data.data_points:
            value = point.as_double
            if point.WhichOneof("value") == "as_int":
                value = float(point.as_int)
            if point.flags & _NO_VALUE:
                value = STALE
            series = self._sample(name, self._labels(point), point, value, counter)
            self._exemplars(series, point)

    def _histograms(self, data: Any, name: str) -> None:
        for point in data.data_points:
            labels = self._labels(point)
            stale = bool(point.flags & _NO_VALUE)
            if point.HasField("sum"):
                self._sample(f"{name}_sum", labels, point, STALE if stale else point.sum)
            count = float(point.count)
            self._sample(f"{name}_count", labels, point, STALE if stale else count)
            self._buckets(name, labels, point, stale)

    def _buckets(self, name: str, labels: Pairs, point: Any, stale: bool) -> None:
        total = 0
        bounds = list(point.explicit_bounds)
        bucket_of: list[tuple[float, int | None]] = []
        for bound, count in zip(bounds, point.bucket_counts, strict=False):
            total += count
            le = [*labels, ("le", format_float(bound))]
            value = STALE if stale else float(total)
            bucket_of.append((bound, self._sample(f"{name}_bucket", le, point, value)))
        # The last bucket holds everything, also of a histogram without buckets.
        infinite = [*labels, ("le", "+Inf")]
        value = STALE if stale else float(point.count)
        bucket_of.append((math.inf, self._sample(f"{name}_bucket", infinite, point, value)))
        for exemplar in point.exemplars:
            series = next(s for bound, s in bucket_of if _exemplar_value(exemplar) <= bound)
            self._exemplar(series, exemplar)

    def _exponentials(self, data: Any, name: str) -> None:
        for point in data.data_points:
            labels = [*self._labels(point), (METRIC_NAME, name)]
            series = self._builder.series(labels)
            time = self._time(point)
            if point.flags & _NO_VALUE:
                self._builder.sample(series, time, STALE)
                continue
            try:
                histogram = exponential(point)
            except InvalidHistogram as error:
                self._builder.problem("invalid_histogram", 1, f"metric {name}: {error}")
                continue
            start = point.start_time_unix_nano // 1_000_000
            self._builder.histogram(series, time, histogram, start)
            self._exemplars(series, point)

    def _summaries(self, data: Any, name: str) -> None:
        for point in data.data_points:
            labels = self._labels(point)
            stale = bool(point.flags & _NO_VALUE)
            self._sample(f"{name}_sum", labels, point, STALE if stale else point.sum)
            count = float(point.count)
            self._sample(f"{name}_count", labels, point, STALE if stale else count)
            for quantile in point.quantile_values:
                own = [*labels, ("quantile", format_float(quantile.quantile))]
                value = STALE if stale else quantile.value
                self._sample(name, own, point, value, counter=False)

    def _sample(
        self, name: str, labels: Pairs, point: Any, value: float, counter: bool = True
    ) -> int | None:
        series = self._builder.series([*labels, (METRIC_NAME, name)])
        start = point.start_time_unix_nano // 1_000_000
        taken = self._builder.sample(series, self._time(point), value, start)
        if taken and counter and start < self._time(point):
            self._builder.created(series, start)
        return series

    def _time(self, point: Any) -> int:
        time = int(point.time_unix_nano // 1_000_000) or self._now_ms
        self._latest = max(self._latest, time)
        return time

    def _labels(self, point: Any) -> Pairs:
        """A point's own attributes, and what the resource is known by."""
        attributes = sorted((a.key, attribute_text(a.value)) for a in point.attributes)
        labels = dict(prometheus_labels(attributes))
        labels.pop(METRIC_NAME, None)
        labels.update(self._identity)
        return list(labels.items())

    def _exemplars(self, series: int | None, point: Any) -> None:
        for exemplar in point.exemplars:
            self._exemplar(series, exemplar)

    def _exemplar(self, series: int | None, exemplar: Any) -> None:
        labels = {
            prometheus_label(a.key): attribute_text(a.value) for a in exemplar.filtered_attributes
        }
        if exemplar.trace_id:
            labels["trace_id"] = exemplar.trace_id.hex()
        if exemplar.span_id:
            labels["span_id"] = exemplar.span_id.hex()
        time = int(exemplar.time_unix_nano // 1_000_000) or self._now_ms
        value = _exemplar_value(exemplar)
        self._builder.exemplar(series, time, value, tuple(sorted(labels.items())))

    def _target_info(self) -> None:
        """A series with what else is known of the resource, to be joined by job and instance."""
        rest = sorted((k, v) for k, v in self._attributes.items() if k not in _IDENTITY)
        if not rest or not self._identity or not self._latest:
            return
        labels = dict(prometheus_labels(rest)) | dict(self._identity)
        labels[METRIC_NAME] = "target_info"
        self._builder.metadata("target_info", "gauge", "Target metadata", "")
        self._builder.sample(self._builder.series(labels), self._latest, 1.0)


def exponential(point: Any) -> Any:
    """The native histogram of an ExponentialHistogramDataPoint. Raises InvalidHistogram."""
    if point.scale < _MIN_SCHEMA:
        raise InvalidHistogram(
            f"cannot convert exponential to native histogram, scale must be >= {_MIN_SCHEMA}, "
            f"was {point.scale}"
        )
    down = max(0, point.scale - _MAX_SCHEMA)
    return from_remote_write(
        schema=min(point.scale, _MAX_SCHEMA),
        count=float(point.count),
        sum=point.sum if point.HasField("sum") else 0.0,
        zero_threshold=point.zero_threshold or _ZERO_THRESHOLD,
        zero_count=float(point.zero_count),
        positive=_side(point.positive, down),
        negative=_side(point.negative, down),
        is_float=True,
    )


def _side(buckets: Any, down: int) -> Side:
    """Counts by ascending index; each ``down`` merges two neighbours."""
    counts: dict[int, float] = {}
    for place, count in enumerate(buckets.bucket_counts):
        if count:
            # OTLP names a bucket by its lower bound, a native histogram by its upper one.
            index = ((buckets.offset + place) >> down) + 1
            counts[index] = counts.get(index, 0.0) + count
    if not counts:
        return NO_SIDE
    spans: list[tuple[int, int]] = []
    end = 0
    for index in sorted(counts):
        if spans and index == end:
            spans[-1] = (spans[-1][0], spans[-1][1] + 1)
        else:
            spans.append((index - end, 1))
        end = index + 1
    return Side(spans=spans, counts=[counts[index] for index in sorted(counts)])


def attribute_text(value: Any) -> str:
    """An attribute's value as a label value; lists and maps as JSON."""
    kind = value.WhichOneof("value")
    if kind == "string_value":
        return str(value.string_value)
    plain = _plain(value)
    if plain is None:
        return ""
    return plain if isinstance(plain, str) else _json_text(plain)


def _json_text(value: Any) -> str:
    if isinstance(value, float):
        return format_float(value)
    if isinstance(value, bool | int):
        return orjson.dumps(value).decode() if abs(int(value)) < 2**63 else str(value)
    return orjson.dumps(value).decode()


def _plain(value: Any) -> Any:
    match value.WhichOneof("value"):
        case "bool_value" | "int_value" | "double_value" | "string_value" as kind:
            return getattr(value, kind)
        case "bytes_value":
            return base64.b64encode(value.bytes_value).decode()
        case "array_value":
            return [_plain(item) for item in value.array_value.values]
        case "kvlist_value":
            return {pair.key: _plain(pair.value) for pair in value.kvlist_value.values}
    return None


def _identity(attributes: Mapping[str, str]) -> Pairs:
    name, namespace = attributes.get("service.name", ""), attributes.get("service.namespace", "")
    job = f"{namespace}/{name}" if namespace and name else name
    instance = attributes.get("service.instance.id", "")
    return [(label, value) for label, value in (("job", job), ("instance", instance)) if value]


def _type(kind: str, data: Any) -> str:
    if kind == "sum":
        return "counter" if data.is_monotonic else "gauge"
    return "histogram" if kind == "exponential_histogram" else kind


def _storable(kind: str, data: Any) -> bool:
    """Sums that are no counters may be anything; all else must be cumulative."""
    if kind == "sum" and not data.is_monotonic:
        return bool(data.aggregation_temporality == _CUMULATIVE)
    return bool(data.aggregation_temporality == _CUMULATIVE)


def _exemplar_value(exemplar: Any) -> float:
    if exemplar.WhichOneof("value") == "as_int":
        return float(exemplar.as_int)
    return float(exemplar.as_double)


_ID_KEYS = {"traceId": 32, "spanId": 16, "trace_id": 32, "span_id": 16}


def _ids_to_base64(node: Any) -> None:
    """OTLP writes ids in JSON as hex, where protobuf's JSON mapping has base64."""
    if isinstance(node, Sequence) and not isinstance(node, str):
        for item in node:
            _ids_to_base64(item)
    elif isinstance(node, dict):
        for key, value in node.items():
            if key in _ID_KEYS and isinstance(value, str):
                node[key] = _base64(key, value)
            else:
                _ids_to_base64(value)


def _base64(key: str, value: str) -> str:
    if value and len(value) != _ID_KEYS[key]:
        raise ValueError(f"{key} {value!r} is not {_ID_KEYS[key]} hexadecimal digits")
    try:
        return base64.b64encode(bytes.fromhex(value)).decode()
    except (ValueError, binascii.Error):
        raise ValueError(f"{key} {value!r} is not hexadecimal") from None
