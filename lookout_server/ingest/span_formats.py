"""Every format in which spans may come, by the name the journal keeps with a body."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from typing import Final

from ..spans.columns import SpanColumns

ZIPKIN_JSON: Final = "zipkin.v2.json"

#: Module of this package and its function, bytes to columns. A decoder is loaded when its format
#: first comes: protobuf alone would double the collector's start.
FORMATS: Final[Mapping[str, tuple[str, str]]] = {
    ZIPKIN_JSON: ("zipkin_json", "decode"),
    "zipkin.v2.proto3": ("zipkin_proto3", "decode"),
    "zipkin.v1.json": ("zipkin_v1", "decode_json"),
    "zipkin.v1.thrift": ("zipkin_v1", "decode_thrift"),
    "otlp.traces.protobuf": ("otlp_traces", "decode_protobuf"),
    "otlp.traces.json": ("otlp_traces", "decode_json"),
    "jaeger.thrift": ("jaeger", "decode"),
}


@cache
def decoder(fmt: str) -> Callable[[bytes], SpanColumns]:
    """The decoder of a format; it raises Malformed and nothing else."""
    module, function = FORMATS[fmt]
    decode: Callable[[bytes], SpanColumns] = getattr(
        import_module(f".{module}", __package__), function
    )
    return decode
