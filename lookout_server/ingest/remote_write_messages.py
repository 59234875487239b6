"""Protobuf messages of Prometheus: remote write 1.0 and 2.0, remote read, and federation.

Source: prompb/types.proto, prompb/remote.proto and prompb/io/prometheus/write/v2/types.proto of
prometheus/prometheus, io/prometheus/client/metrics.proto of prometheus/client_model. The hot
ones, :class:`RawRequest` with :class:`RawSeries`, and :class:`RawRequestV2`, are described
shallowly (see :mod:`.shallow`).
"""

from __future__ import annotations

from .shallow import message_classes

#: message -> field -> (number, type); a leading "*" means repeated.
_MESSAGES: dict[str, dict[str, tuple[int, str]]] = {
    "Label": {"name": (1, "string"), "value": (2, "string")},
    "RawLabel": {"name": (1, "bytes"), "value": (2, "bytes")},
    "Sample": {"value": (1, "double"), "timestamp": (2, "int64"), "start_timestamp": (3, "int64")},
    "Exemplar": {"labels": (1, "*RawLabel"), "value": (2, "double"), "timestamp": (3, "int64")},
    "BucketSpan": {"offset": (1, "sint32"), "length": (2, "uint32")},
    "Histogram": {
        "count_int": (1, "uint64"),
        "count_float": (2, "double"),
        "sum": (3, "double"),
        "schema": (4, "sint32"),
        "zero_threshold": (5, "double"),
        "zero_count_int": (6, "uint64"),
        "zero_count_float": (7, "double"),
        "negative_spans": (8, "*BucketSpan"),
        "negative_deltas": (9, "*sint64"),
        "negative_counts": (10, "*double"),
        "positive_spans": (11, "*BucketSpan"),
        "positive_deltas": (12, "*sint64"),
        "positive_counts": (13, "*double"),
        "reset_hint": (14, "int32"),
        "timestamp": (15, "int64"),
        "custom_values": (16, "*double"),
        "start_timestamp": (17, "int64"),
    },
    "MetricMetadata": {
        "type": (1, "int32"),
        "metric_family_name": (2, "bytes"),
        "help": (4, "bytes"),
        "unit": (5, "bytes"),
    },
    "TimeSeries": {
        "labels": (1, "*Label"),
        "samples": (2, "*Sample"),
        "exemplars": (3, "*Exemplar"),
        "histograms": (4, "*Histogram"),
    },
    "WriteRequest": {"timeseries": (1, "*TimeSeries"), "metadata": (3, "*MetricMetadata")},
    "RawRequest": {"timeseries": (1, "*bytes"), "metadata": (3, "*MetricMetadata")},
    "RawSeries": {
        "labels": (1, "*bytes"),
        "samples": (2, "*bytes"),
        "exemplars": (3, "*Exemplar"),
        "histograms": (4, "*Histogram"),
    },
    "ExemplarV2": {
        "labels_refs": (1, "*uint32"),
        "value": (2, "double"),
        "timestamp": (3, "int64"),
    },
    "MetadataV2": {"type": (1, "int32"), "help_ref": (3, "uint32"), "unit_ref": (4, "uint32")},
    "TimeSeriesV2": {
        "labels_refs": (1, "*uint32"),
        "samples": (2, "*Sample"),
        "histograms": (3, "*Histogram"),
        "exemplars": (4, "*ExemplarV2"),
        "metadata": (5, "MetadataV2"),
        "created_timestamp": (6, "int64"),
    },
    "RequestV2": {"symbols": (4, "*bytes"), "timeseries": (5, "*TimeSeriesV2")},
    "RawRequestV2": {"symbols": (4, "*bytes"), "timeseries": (5, "*bytes")},
    "LabelMatcher": {"type": (1, "int32"), "name": (2, "string"), "value": (3, "string")},
    "ReadQuery": {
        "start_timestamp_ms": (1, "int64"),
        "end_timestamp_ms": (2, "int64"),
        "matchers": (3, "*LabelMatcher"),
    },
    "ReadRequest": {"queries": (1, "*ReadQuery"), "accepted_response_types": (2, "*int32")},
    "QueryResult": {"timeseries": (1, "*TimeSeries")},
    "ReadResponse": {"results": (1, "*QueryResult")},
    "Untyped": {"value": (1, "double")},
    "FamilyHistogram": {
        "sample_sum": (2, "double"),
        "sample_count_float": (4, "double"),
        "schema": (5, "sint32"),
        "zero_threshold": (6, "double"),
        "zero_count_float": (8, "double"),
        "negative_span": (9, "*BucketSpan"),
        "negative_count": (11, "*double"),
        "positive_span": (12, "*BucketSpan"),
        "positive_count": (14, "*double"),
    },
    "Metric": {
        "label": (1, "*Label"),
        "untyped": (5, "Untyped"),
        "timestamp_ms": (6, "int64"),
        "histogram": (7, "FamilyHistogram"),
    },
    "MetricFamily": {"name": (1, "string"), "type": (3, "int32"), "metric": (4, "*Metric")},
}

#: Fields of which exactly one is set; presence tells integer from float histograms.
_ONEOFS = {
    "Histogram": {
        "count": ("count_int", "count_float"),
        "zero_count": ("zero_count_int", "zero_count_float"),
    }
}


_CLASSES = message_classes("lookout.prometheus", _MESSAGES, _ONEOFS)

RawRequest = _CLASSES["RawRequest"]
RawSeries = _CLASSES["RawSeries"]
RawLabel = _CLASSES["RawLabel"]
Sample = _CLASSES["Sample"]
TimeSeries = _CLASSES["TimeSeries"]
WriteRequest = _CLASSES["WriteRequest"]
RequestV2 = _CLASSES["RequestV2"]
RawRequestV2 = _CLASSES["RawRequestV2"]
TimeSeriesV2 = _CLASSES["TimeSeriesV2"]
MetadataV2 = _CLASSES["MetadataV2"]
ReadRequest = _CLASSES["ReadRequest"]
ReadResponse = _CLASSES["ReadResponse"]
MetricFamily = _CLASSES["MetricFamily"]

#: Names of ``MetricMetadata.type`` by number.
METRIC_TYPES = (
    "unknown",
    "counter",
    "gauge",
    "histogram",
    "gaugehistogram",
    "summary",
    "info",
    "stateset",
)
