"""The everyday API of both halves: tagged meters, and spans from the tracer.

    import lookout_client as lookout

    lookout.init(service_name="orders")
    orders = lookout.counter("shop.orders", help="Orders taken, by result.")

    @lookout.trace
    def price(item: str) -> int: ...

Names of the tracing half are looked up when first used: an application whose own ``tracer.py``
or ``exporters`` hides our package can still import this one and count. Where it uses such a name it
gets an ImportError that names the file.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .default import (
    REGISTRY,
    counter,
    gauge,
    histogram,
    info,
    native_histogram,
    native_timer,
    summary,
    timer,
    up_down_counter,
)
from .errors import InvalidName, InvalidUnit, MeterClash, MeterError
from .info import Info, Poll
from .meters import (
    Counter,
    DistributionSummary,
    Gauge,
    Histogram,
    NativeHistogram,
    NativeTimer,
    Timer,
    UpDownCounter,
)
from .mixin import Mixin
from .registry import Registry
from .shadowing import intruder
from .steps import Priority
from .topn import TopN

if TYPE_CHECKING:
    from tracer import (
        Span,
        SpanContext,
        SpanKind,
        StatusCode,
        current_span,
        extract,
        get_tracer,
        inject,
        start_span,
        trace,
        use_span,
        wrap,
    )
    from tracer.instrumentation import instrument, uninstrument
    from tracer.instrumentation.asgi import AsgiMiddleware
    from tracer.instrumentation.logging import TraceFilter, TraceFormatter, add_trace
    from tracer.instrumentation.wsgi import WsgiMiddleware

    from .client import flush, init, ledger, shutdown
    from .scrape import metrics_asgi, metrics_wsgi, start_server

    INTERNAL = SpanKind.INTERNAL
    SERVER = SpanKind.SERVER
    CLIENT = SpanKind.CLIENT
    PRODUCER = SpanKind.PRODUCER
    CONSUMER = SpanKind.CONSUMER

#: Names that are imported when first used, with the module that has them.
_LATE = {
    **dict.fromkeys(("flush", "init", "ledger", "shutdown"), ".client"),
    **dict.fromkeys(("metrics_asgi", "metrics_wsgi", "start_server"), ".scrape"),
    **dict.fromkeys(("instrument", "uninstrument"), "tracer.instrumentation"),
    "AsgiMiddleware": "tracer.instrumentation.asgi",
    **dict.fromkeys(
        ("TraceFilter", "TraceFormatter", "add_trace"), "tracer.instrumentation.logging"
    ),
    "WsgiMiddleware": "tracer.instrumentation.wsgi",
    **dict.fromkeys(
        (
            "Span",
            "SpanContext",
            "SpanKind",
            "StatusCode",
            "current_span",
            "extract",
            "get_tracer",
            "inject",
            "start_span",
            "trace",
            "use_span",
            "wrap",
        ),
        "tracer",
    ),
}
_KINDS = ("INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")

__all__ = [
    "CLIENT",
    "CONSUMER",
    "INTERNAL",
    "PRODUCER",
    "REGISTRY",
    "SERVER",
    "AsgiMiddleware",
    "Counter",
    "DistributionSummary",
    "Gauge",
    "Histogram",
    "Info",
    "InvalidName",
    "InvalidUnit",
    "MeterClash",
    "MeterError",
    "Mixin",
    "NativeHistogram",
    "NativeTimer",
    "Poll",
    "Priority",
    "Registry",
    "Span",
    "SpanContext",
    "SpanKind",
    "StatusCode",
    "Timer",
    "TopN",
    "TraceFilter",
    "TraceFormatter",
    "UpDownCounter",
    "WsgiMiddleware",
    "add_trace",
    "counter",
    "current_span",
    "extract",
    "flush",
    "gauge",
    "get_tracer",
    "histogram",
    "info",
    "init",
    "inject",
    "instrument",
    "ledger",
    "metrics_asgi",
    "metrics_wsgi",
    "native_histogram",
    "native_timer",
    "shutdown",
    "start_server",
    "start_span",
    "summary",
    "timer",
    "trace",
    "uninstrument",
    "up_down_counter",
    "use_span",
    "wrap",
]


def __getattr__(name: str) -> Any:
    if name in _KINDS:
        value = __getattr__("SpanKind")[name]
    elif name in _LATE:
        value = getattr(_late(_LATE[name]), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def _late(module: str) -> Any:
    """Imported now; ImportError with the file's name where the application's own hides ours."""
    needs = ("exporters",) if module == ".scrape" else ("tracer", "exporters")
    if hidden := intruder(needs):
        raise ImportError(hidden)
    return importlib.import_module(module, __name__)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
