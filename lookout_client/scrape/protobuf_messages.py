"""The messages of Prometheus' protobuf exposition format.

Field numbers from https://github.com/prometheus/client_model (io/prometheus/client/metrics.proto).
They are declared in a descriptor pool of their own: an application may have the generated module
of the same package loaded.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_F = descriptor_pb2.FieldDescriptorProto
PACKAGE = "io.prometheus.client"

#: message -> fields: (name, number, type), a trailing * for repeated, a capital for a message.
_MESSAGES: dict[str, tuple[tuple[str, int, str], ...]] = {
    "Timestamp": (("seconds", 1, "int64"), ("nanos", 2, "int32")),
    "LabelPair": (("name", 1, "string"), ("value", 2, "string")),
    "Exemplar": (("label", 1, "LabelPair*"), ("value", 2, "double"), ("timestamp", 3, "Timestamp")),
    "Gauge": (("value", 1, "double"),),
    "Counter": (
        ("value", 1, "double"),
        ("exemplar", 2, "Exemplar"),
        ("created_timestamp", 3, "Timestamp"),
    ),
    "Summary": (
        ("sample_count", 1, "uint64"),
        ("sample_sum", 2, "double"),
        ("created_timestamp", 4, "Timestamp"),
    ),
    "Bucket": (
        ("cumulative_count", 1, "uint64"),
        ("upper_bound", 2, "double"),
        ("exemplar", 3, "Exemplar"),
    ),
    "BucketSpan": (("offset", 1, "sint32"), ("length", 2, "uint32")),
    "Histogram": (
        ("sample_count", 1, "uint64"),
        ("sample_sum", 2, "double"),
        ("bucket", 3, "Bucket*"),
        ("schema", 5, "sint32"),
        ("zero_threshold", 6, "double"),
        ("zero_count", 7, "uint64"),
        ("negative_span", 9, "BucketSpan*"),
        ("negative_delta", 10, "sint64*"),
        ("positive_span", 12, "BucketSpan*"),
        ("positive_delta", 13, "sint64*"),
        ("created_timestamp", 15, "Timestamp"),
        ("exemplars", 16, "Exemplar*"),
    ),
    "Metric": (
        ("label", 1, "LabelPair*"),
        ("gauge", 2, "Gauge"),
        ("counter", 3, "Counter"),
        ("summary", 4, "Summary"),
        ("histogram", 7, "Histogram"),
    ),
    "MetricFamily": (
        ("name", 1, "string"),
        ("help", 2, "string"),
        ("type", 3, "int32"),  # an enum on the wire is an int32
        ("metric", 4, "Metric*"),
        ("unit", 5, "string"),
    ),
}

_SCALARS = {
    "double": _F.TYPE_DOUBLE,
    "int32": _F.TYPE_INT32,
    "int64": _F.TYPE_INT64,
    "sint32": _F.TYPE_SINT32,
    "sint64": _F.TYPE_SINT64,
    "string": _F.TYPE_STRING,
    "uint32": _F.TYPE_UINT32,
    "uint64": _F.TYPE_UINT64,
}


def _field(name: str, number: int, kind: str) -> Any:
    field = _F(
        name=name,
        number=number,
        label=_F.LABEL_REPEATED if kind.endswith("*") else _F.LABEL_OPTIONAL,
    )
    kind = kind.rstrip("*")
    if kind in _SCALARS:
        field.type = _SCALARS[kind]
        if field.label == _F.LABEL_REPEATED:
            field.options.packed = True  # as Prometheus' own clients send deltas
    else:
        field.type = _F.TYPE_MESSAGE
        field.type_name = f".{PACKAGE}.{kind}"
    return field


def _load() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(
        name="lookout/metrics.proto", package=PACKAGE, syntax="proto2"
    )
    for message, fields in _MESSAGES.items():
        declared = file.message_type.add(name=message)
        declared.field.extend(_field(*field) for field in fields)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{name}"))
        for name in _MESSAGES
    }


_classes = _load()
MetricFamily: Any = _classes["MetricFamily"]
COUNTER, GAUGE, SUMMARY, UNTYPED, HISTOGRAM = range(5)
