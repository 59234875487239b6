"""``POST /api/v1/read``: raw samples for another Prometheus, as ``SAMPLES``.

A request that only accepts streamed chunks gets samples all the same, as the protocol demands of
servers that do not know them. Source: ``storage/remote/read_handler.go``, prompb/remote.proto.
"""

from __future__ import annotations

from typing import Any

import cramjam
from google.protobuf.message import DecodeError
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from ...http import Refused, read_raw
from ...ingest.remote_write import decompress
from ...ingest.remote_write_messages import ReadRequest, ReadResponse
from ...signal import Malformed
from .errors import QueryError, TooManySamples
from .histogram import Histogram, spans_of
from .matchers import Matcher, MatchType
from .regexes import compile_pattern
from .service import PrometheusService
from .source import SelectHints, SeriesBlock

_TYPES = (MatchType.EQUAL, MatchType.NOT_EQUAL, MatchType.REGEX, MatchType.NOT_REGEX)


def read_routes(service: PrometheusService) -> list[BaseRoute]:
    """The route for this service."""

    async def read(request: Request) -> Response:
        try:
            limit = service.server.config.body_max_decompressed
            body = decompress(await read_raw(request, service.server), limit)
            message = ReadRequest.FromString(body)
            tenant = service.server.tenant(request)
            answer = await service.run(request, _answer, service, tenant, message)
        except Refused as refused:
            return refused.response()
        except (Malformed, DecodeError, ValueError) as error:
            return PlainTextResponse(f"{error}\n", 400)
        except TooManySamples:
            most = service.options.max_samples
            return PlainTextResponse(f"exceeded sample limit ({most})\n", 400)
        except QueryError as error:
            return PlainTextResponse(f"{error}\n", error.status)
        headers = {"Content-Encoding": "snappy"}
        return Response(answer, media_type="application/x-protobuf", headers=headers)

    return [Route("/api/v1/read", read, methods=["POST"])]


def _answer(service: PrometheusService, tenant: str, message: Any) -> bytes:
    source = service.source(tenant)
    hints = SelectHints(
        max_samples=service.options.max_samples, timeout_s=service.options.timeout_s
    )
    response = ReadResponse()
    for query in message.queries:
        matchers = [_matcher(matcher) for matcher in query.matchers]
        start, end = query.start_timestamp_ms, query.end_timestamp_ms
        block = source.select(matchers, start, end, hints)
        _fill(response.results.add(), block)
    return bytes(cramjam.snappy.compress_raw(response.SerializeToString()))


def _matcher(message: Any) -> Matcher:
    if not 0 <= message.type < len(_TYPES):
        raise ValueError("invalid matcher type")
    matcher = Matcher(_TYPES[message.type], message.name, message.value)
    if matcher.type.is_regex:
        compile_pattern(matcher.value)
    return matcher


def _fill(result: Any, block: SeriesBlock) -> None:
    rows = sorted(range(len(block.labels)), key=lambda row: block.labels[row])
    for row in rows:
        series = result.timeseries.add()
        for name, value in block.labels[row]:
            series.labels.add(name=name, value=value)
        for at in range(int(block.offsets[row]), int(block.offsets[row + 1])):
            time = int(block.timestamps[at])
            histogram = None if block.histograms is None else block.histograms[at]
            if histogram is None:
                series.samples.add(timestamp=time, value=float(block.values[at]))
            else:
                _add_histogram(series, time, histogram)


def _add_histogram(series: Any, time: int, histogram: Histogram) -> None:
    message = series.histograms.add(
        timestamp=time,
        schema=histogram.schema,
        count_float=histogram.count,
        sum=histogram.sum,
        zero_threshold=histogram.zero_threshold,
        zero_count_float=histogram.zero_count,
        positive_counts=histogram.positive.counts.tolist(),
        negative_counts=histogram.negative.counts.tolist(),
        custom_values=histogram.custom_values,
        reset_hint=int(histogram.hint),
    )
    for offset, length in spans_of(histogram.positive):
        message.positive_spans.add(offset=offset, length=length)
    for offset, length in spans_of(histogram.negative):
        message.negative_spans.add(offset=offset, length=length)
