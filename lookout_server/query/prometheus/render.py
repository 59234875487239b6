"""Query results as the JSON that Prometheus writes, in columns.

A wide range query is mostly numbers becoming text, so that is done for all of them at once: Arrow
writes the shortest digits, the few that Go writes differently are patched, and NumPy's and Arrow's
joins put the points together. Sources: ``util/jsonutil`` and ``web/api/v1/json_codec.go``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from .frame import filled
from .histogram import Histogram, json_buckets
from .source import BoolArray, Float64Array, Int64Array, Labels, ObjectArray

#: Points put into one piece of the answer.
_PIECE_POINTS = 100_000


def format_value(value: float) -> str:
    """A number as in JSON answers: Go's ``f`` shortest, ``e`` below 1e-6 and from 1e21 on."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    text = repr(value)
    if "e" not in text:
        return text.removesuffix(".0")
    if 1e-6 <= abs(value) < 1e21:
        return format(_exact(text), "f")
    return text.replace(".0e", "e")


def _exact(text: str) -> Any:
    from decimal import Decimal

    return Decimal(text)


def format_time(time_ms: int) -> str:
    """Seconds, with three digits of a fraction only where there is one."""
    sign = "-" if time_ms < 0 else ""
    seconds, millis = divmod(abs(time_ms), 1000)
    return f"{sign}{seconds}.{millis:03d}" if millis else f"{sign}{seconds}"


def value_texts(values: Float64Array) -> pa.Array:
    """:func:`format_value` of all of ``values``, as an Arrow string array."""
    texts = pc.cast(pa.array(values), pa.string())
    finite = np.isfinite(values)
    magnitude = np.abs(values)
    # Arrow writes these with an exponent; between 1e15 and 1e-6 it agrees with Go.
    usual = finite & ((magnitude < 1e15) & (magnitude >= 1e-5) | (values == 0))
    odd = np.flatnonzero(~usual)
    if len(odd):
        patch = pa.array([format_value(value) for value in values[odd].tolist()], pa.string())
        texts = pc.replace_with_mask(texts, pa.array(~usual), patch)
    return _without_point(texts)


def _without_point(texts: pa.Array) -> pa.Array:
    """Arrow writes whole numbers as ``5.0`` or ``5`` depending on its version."""
    if len(texts) and pc.any(pc.ends_with(texts, ".0")).as_py():
        return pc.replace_substring_regex(texts, r"\.0$", "")
    return texts


def labels_json(labels: Labels) -> bytes:
    """``{"name":"value",...}``"""
    return dumps(dict(labels))


def dumps(value: object) -> bytes:
    """JSON, also of text that is not quite UTF-8."""
    try:
        return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS)
    except orjson.JSONEncodeError:
        return json.dumps(value, separators=(",", ":")).encode("utf-8", "replace")


def scalar(time_ms: int, value: float) -> bytes:
    """The ``result`` of a scalar."""
    return f'[{format_time(time_ms)},"{format_value(value)}"]'.encode()


def string(time_ms: int, value: str) -> bytes:
    """The ``result`` of a string."""
    return f"[{format_time(time_ms)},".encode() + dumps(value) + b"]"


def vector(
    labels: Sequence[Labels],
    time_ms: int,
    values: Float64Array,
    histograms: ObjectArray | None = None,
) -> Iterator[bytes]:
    """The ``result`` of an instant vector, in pieces."""
    texts = value_texts(values).to_pylist()
    time = format_time(time_ms)
    parts = []
    for row, one in enumerate(labels):
        histogram = None if histograms is None else histograms[row]
        if histogram is None:
            sample = f',"value":[{time},"{texts[row]}"]}}'
        else:
            sample = f',"histogram":[{time},{histogram_json(histogram)}]}}'
        parts.append(b'{"metric":' + labels_json(one) + sample.encode())
    yield b"[" + b",".join(parts) + b"]"


def matrix(
    labels: Sequence[Labels],
    times: Int64Array,
    values: Float64Array,
    present: BoolArray,
    histograms: ObjectArray | None = None,
) -> Iterator[bytes]:
    """The ``result`` of a range vector over shared times, in pieces. Rows have a sample each."""
    prefixes = pa.array([f'[{format_time(time)},"' for time in times.tolist()], pa.string())
    rows_at_once = max(1, _PIECE_POINTS // max(1, len(times)))
    yield b"["
    for low in range(0, len(labels), rows_at_once):
        rows = slice(low, low + rows_at_once)
        floats = present[rows]
        some = None
        if histograms is not None:
            some = histograms[rows]
            floats = floats & ~filled(some)
        points = _points(prefixes, values[rows], floats)
        pieces = []
        for row, one in enumerate(labels[rows]):
            text = b'{"metric":' + labels_json(one)
            if points[row]:
                text += b',"values":[' + points[row] + b"]"
            if some is not None:
                text += _histograms(times, some[row], present[low + row])
            pieces.append(text + b"}")
        yield (b"," if low else b"") + b",".join(pieces)
    yield b"]"


def _points(prefixes: pa.Array, values: Float64Array, present: BoolArray) -> list[bytes]:
    """``[t,"v"],[t,"v"]`` of each row."""
    rows, columns = np.nonzero(present)
    texts = value_texts(values[present])
    points = pc.binary_join_element_wise(
        prefixes.take(pa.array(columns)), texts, pa.scalar('"]'), pa.scalar("")
    )
    offsets = np.zeros(len(values) + 1, dtype=np.int32)
    np.cumsum(np.bincount(rows, minlength=len(values)), out=offsets[1:])
    joined = pc.binary_join(pa.ListArray.from_arrays(pa.array(offsets), points), ",")
    return [bytes(piece.as_buffer()) for piece in joined]


def ragged_matrix(
    labels: Sequence[Labels],
    offsets: Int64Array,
    times: Int64Array,
    values: Float64Array,
    histograms: ObjectArray | None = None,
) -> Iterator[bytes]:
    """The ``result`` of a range vector whose series have times of their own."""
    yield b"["
    for row, one in enumerate(labels):
        part = slice(int(offsets[row]), int(offsets[row + 1]))
        text = b'{"metric":' + labels_json(one)
        present = np.ones(part.stop - part.start, dtype=np.bool_)
        floats = present
        if histograms is not None:
            floats = ~filled(histograms[part])
        if floats.any():
            points = zip(times[part][floats].tolist(), values[part][floats].tolist(), strict=True)
            body = ",".join(f'[{format_time(t)},"{format_value(v)}"]' for t, v in points)
            text += b',"values":[' + body.encode() + b"]"
        if histograms is not None:
            text += _histograms(times[part], histograms[part], present)
        yield (b"," if row else b"") + text + b"}"
    yield b"]"


def _histograms(times: Int64Array, histograms: ObjectArray, present: BoolArray) -> bytes:
    points = [
        f"[{format_time(int(times[at]))},{histogram_json(histograms[at])}]"
        for at in np.flatnonzero(present)
        if histograms[at] is not None
    ]
    return (',"histograms":[' + ",".join(points) + "]").encode() if points else b""


def histogram_json(histogram: Histogram) -> str:
    """A native histogram: count, sum, and the buckets that have observations.

    The number before a bucket's bounds says which of them belong to it: 0 the upper, 1 the
    lower, 2 none, 3 both.
    """
    text = f'{{"count":"{format_value(histogram.count)}","sum":"{format_value(histogram.sum)}"'
    buckets = ",".join(
        f'[{rule},"{format_value(lower)}","{format_value(upper)}","{format_value(count)}"]'
        for rule, lower, upper, count in json_buckets(histogram)
    )
    return text + (f',"buckets":[{buckets}]}}' if buckets else "}")
