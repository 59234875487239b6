"""Query results as the JSON that Prometheus writes, in columns.

A wide range query is mostly numbers becoming text, so that is done for all of them at once: Arrow
writes the shortest digits, the few that Go writes differently are patched, and NumPy's and Arrow's
joins put the points together. Sources: ``util/jsonutil`` and ``web/api/v1/json_codec.go``.
"""

from __future__ import annotations

import itertools
import json
import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from .frame import filled
from .histogram import Histogram, json_buckets
from .result import Result
from .source import BoolArray, Float64Array, Int64Array, Labels, ObjectArray

#: Points put into one piece of the answer.
_PIECE_POINTS = 100_000
#: Threads that render one answer: a second one halves the time of the widest, and no client reads
#: faster than that.
_RENDERERS = 2


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
    whole = _whole(values)
    if whole.all():
        return _whole_texts(values)
    texts = pc.cast(pa.array(values), pa.string())
    if whole.any():
        texts = pc.replace_with_mask(texts, pa.array(whole), _whole_texts(values[whole]))
    # When Arrow prefers an exponent depends on its version; without one it writes what Go does.
    odd = pc.match_substring(texts, "e").to_numpy(zero_copy_only=False) | ~np.isfinite(values)
    if odd.any():
        patch = pa.array([format_value(value) for value in values[odd].tolist()], pa.string())
        texts = pc.replace_with_mask(texts, pa.array(odd), patch)
    return texts


def _whole(values: Float64Array) -> BoolArray:
    """Which are whole numbers, as of counters: these are written four times as fast."""
    with np.errstate(invalid="ignore"):
        whole: BoolArray = (values == np.floor(values)) & (np.abs(values) < 1e15)
    if (zero := values == 0).any():
        whole &= ~(zero & np.signbit(values))
    return whole


def _whole_texts(values: Float64Array) -> pa.Array:
    return pc.cast(pa.array(values.astype(np.int64)), pa.string())


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


def result(answer: Result) -> Iterator[bytes]:
    """The API's ``result`` of a query, in pieces."""
    match answer.kind:
        case "scalar":
            yield scalar(answer.time_ms, answer.scalar)
        case "string":
            yield string(answer.time_ms, answer.string)
        case "vector":
            yield _vector(answer)
        case _:
            yield from _matrix(answer)


def _vector(answer: Result) -> bytes:
    texts = value_texts(answer.values).to_pylist()
    times = answer.timestamps.tolist()
    parts = []
    for row, labels in enumerate(answer.labels):
        histogram = None if answer.histograms is None else answer.histograms[row]
        time = format_time(times[row])
        if histogram is None:
            sample = f',"value":[{time},"{texts[row]}"]}}'
        else:
            sample = f',"histogram":[{time},{histogram_json(histogram)}]}}'
        parts.append(b'{"metric":' + labels_json(labels) + sample.encode())
    return b"[" + b",".join(parts) + b"]"


def _matrix(answer: Result) -> Iterator[bytes]:
    yield b"["
    times = _Times(answer)
    yield from _ahead([partial(_series, answer, times, *rows) for rows in _pieces(answer.offsets)])
    yield b"]"


def _ahead(pieces: Sequence[Callable[[], bytes]]) -> Iterator[bytes]:
    """All pieces in order; the next ones are made in other threads while one is being sent.

    Arrow and NumPy, which do the work, leave the interpreter's lock alone meanwhile.
    """
    if len(pieces) < 2:
        yield from (piece() for piece in pieces)
        return
    with ThreadPoolExecutor(_RENDERERS, "lookout-promql-render") as workers:
        coming: deque[Future[bytes]] = deque()
        for piece in pieces:
            coming.append(workers.submit(piece))
            if len(coming) > _RENDERERS:
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()


def _series(answer: Result, times: _Times, low: int, high: int) -> bytes:
    """Some neighbouring series with their samples."""
    part = slice(int(answer.offsets[low]), int(answer.offsets[high]))
    offsets = answer.offsets[low : high + 1] - answer.offsets[low]
    if answer.histograms is None:
        points, ends = _points(answer, times, part), offsets
    else:
        points, ends = _float_points(answer, times, part, offsets)
    pieces: list[bytes | memoryview] = [b"," if low else b""]
    rows = zip(answer.labels[low:high], _slices(points, ends), offsets.tolist(), strict=False)
    for row, (labels, values, first) in enumerate(rows):
        pieces.append((b"," if row else b"") + b'{"metric":' + labels_json(labels))
        if values:
            pieces += (b',"values":[', values, b"]")
        if answer.histograms is not None:
            own = slice(part.start + first, part.start + int(offsets[row + 1]))
            pieces.append(_histograms(answer.timestamps[own], answer.histograms[own]))
        pieces.append(b"}")
    return b"".join(pieces)


def _pieces(offsets: Int64Array) -> Iterator[tuple[int, int]]:
    """Ranges of series with about :data:`_PIECE_POINTS` points each."""
    low, last = 0, len(offsets) - 1
    while low < last:
        high = int(np.searchsorted(offsets, offsets[low] + _PIECE_POINTS, side="right")) - 1
        high = min(max(high, low + 1), last)
        yield low, high
        low = high


def _points(answer: Result, times: _Times, part: slice) -> pa.Array:
    """``[t,"v"],`` of each sample."""
    texts = value_texts(answer.values[part])
    return pc.binary_join_element_wise(times.texts(part), texts, pa.scalar('"],'), pa.scalar(""))


def _float_points(
    answer: Result, times: _Times, part: slice, offsets: Int64Array
) -> tuple[pa.Array, Int64Array]:
    """:func:`_points` of the samples that are numbers, and where each series' begin."""
    assert answer.histograms is not None
    floats = ~filled(answer.histograms[part])
    before = np.zeros(len(floats) + 1, dtype=np.int64)
    np.cumsum(floats, out=before[1:])
    return _points(answer, times, part).filter(pa.array(floats)), before[offsets]


def _slices(texts: pa.Array, offsets: Int64Array) -> Iterator[memoryview]:
    """The texts of each series one after the other, less the last comma: no copies."""
    _, places, data = texts.buffers()
    if data is None or not len(texts):
        yield from (memoryview(b"") for _ in range(len(offsets) - 1))
        return
    begins = np.frombuffer(places, dtype=np.int32)[texts.offset :][offsets].tolist()
    view = memoryview(data)
    for low, high in itertools.pairwise(begins):
        yield view[low : max(low, high - 1)]


class _Times:
    """``[t,"`` of samples; times that samples share are written once."""

    def __init__(self, answer: Result) -> None:
        self._answer = answer
        self._steps = None if answer.steps is None else _time_texts(answer.steps)

    def texts(self, part: slice) -> pa.Array:
        """Of some of the samples."""
        answer = self._answer
        if self._steps is not None and answer.step_of is not None:
            return self._steps.take(pa.array(answer.step_of[part]))
        times, places = np.unique(answer.timestamps[part], return_inverse=True)
        return _time_texts(times).take(pa.array(places))


def _time_texts(times: Int64Array) -> pa.Array:
    return pa.array([f'[{format_time(time)},"' for time in times.tolist()], pa.string())


def _histograms(times: Int64Array, histograms: ObjectArray) -> bytes:
    points = [
        f"[{format_time(time)},{histogram_json(histogram)}]"
        for time, histogram in zip(times.tolist(), histograms, strict=True)
        if histogram is not None
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
