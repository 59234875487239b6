"""Rate, errors and durations of HTTP, from the tracing middleware and clients.

Every request counts, sampled or not. Names, unit and buckets are those of OpenTelemetry's
conventions: https://opentelemetry.io/docs/specs/semconv/http/http-metrics/
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..registry import DURATION_BUCKETS, Registry


def watch_http(registry: Registry) -> Callable[[], None]:
    """Time every request the tracing middleware sees; the answer stops that."""
    from tracer.instrumentation.http import observe_requests

    timers = {
        side: registry.timer(
            f"http.{side}.request.duration",
            description=f"Duration of HTTP {side} requests.",
            buckets=DURATION_BUCKETS,
            keys=("http.request.method", "url.scheme", "http.response.status_code"),
        )
        for side in ("server", "client")
    }

    def observe(side: str, seconds: float, tags: Mapping[str, object]) -> None:
        timers[side].with_tags(**{key: str(value) for key, value in tags.items()}).record(seconds)

    return observe_requests(observe)
