"""``/federate``: the newest samples of selected series, for another Prometheus to scrape."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from . import federate_protobuf
from .answers import compressed
from .errors import QueryError
from .histogram import Histogram
from .matchers import Matcher
from .numbers import format_go
from .parameters import Form, now_ms, selectors_parameter
from .render import format_time
from .service import PrometheusService
from .source import METRIC_NAME, Labels, SelectHints, is_stale

_TEXT = "text/plain; version=0.0.4; charset=utf-8"
_OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


def federate_routes(service: PrometheusService) -> list[BaseRoute]:
    """The route for this service."""

    async def federate(request: Request) -> Response:
        form = Form.of(request)
        try:
            sets = selectors_parameter(form)
            tenant = service.server.tenant(request)
            newest = await service.run(request, _newest, service, tenant, sets)
        except QueryError as error:
            status = error.status
            return PlainTextResponse(f"{error}\n", status)
        accepted = request.headers.get("accept", "")
        if "application/vnd.google.protobuf" in accepted:
            return compressed(
                request, federate_protobuf.encoded(newest), federate_protobuf.MEDIA_TYPE
            )
        openmetrics = "application/openmetrics-text" in accepted
        lines = "".join(exposition(newest, openmetrics=openmetrics))
        kind = _OPENMETRICS if openmetrics else _TEXT
        return compressed(request, lines.encode(), kind)

    return [Route("/federate", federate, methods=["GET", "HEAD"])]


def _newest(
    service: PrometheusService, tenant: str, sets: Sequence[Sequence[Matcher]]
) -> dict[Labels, tuple[int, float | Histogram]]:
    """Time and value of the newest sample of each series that is not stale."""
    now = now_ms()
    source = service.source(tenant)
    newest: dict[Labels, tuple[int, float | Histogram]] = {}
    for matchers in sets:
        block = source.select(matchers, now - service.options.lookback_ms, now, SelectHints())
        stale = is_stale(block.values)
        for row, labels in enumerate(block.labels):
            last = int(block.offsets[row + 1]) - 1
            histogram = None if block.histograms is None else block.histograms[last]
            if histogram is not None:
                newest[labels] = (int(block.timestamps[last]), histogram)
            elif not stale[last]:
                newest[labels] = (int(block.timestamps[last]), float(block.values[last]))
    return newest


def exposition(
    newest: Mapping[Labels, tuple[int, float | Histogram]], *, openmetrics: bool = False
) -> Iterator[str]:
    """Lines of the classic text format or of OpenMetrics; series get an ``instance``.

    Native histograms are left out: text has no form for them.
    """
    ordered = sorted(newest, key=lambda labels: (dict(labels).get(METRIC_NAME, ""), labels))
    current = None
    for labels in ordered:
        time, value = newest[labels]
        if isinstance(value, Histogram):
            continue
        own = dict(labels)
        name = own.pop(METRIC_NAME, "")
        own.setdefault("instance", "")
        if name != current:
            current = name
            yield f"# TYPE {name} {'unknown' if openmetrics else 'untyped'}\n"
        stamp = format_time(time) if openmetrics else str(time)
        pairs = ",".join(f'{key}="{_escaped(text)}"' for key, text in sorted(own.items()))
        yield f"{name}{{{pairs}}} {_number(value)} {stamp}\n"
    if openmetrics:
        yield "# EOF\n"


def _number(value: float) -> str:
    return format_go(value) if math.isfinite(value) else _special(value)


def _special(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    return "+Inf" if value > 0 else "-Inf"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
