"""What an HTTP span says, whoever made it: names, tags and errors.

The names are those of OpenTelemetry's stable semantic conventions for HTTP
(semantic-conventions v1.44, docs/http/http-spans.md and http-metrics.md).
"""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import SplitResult, urlsplit, urlunsplit

from exporters.records import STATUS_ERROR, TagValue

from ..span import Span

METHODS = frozenset(
    ("GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE", "CONNECT", "QUERY")
)
#: The conventions' word for methods outside the list, so that a client cannot invent series.
OTHER = "_OTHER"

Tags = dict[str, TagValue]
#: (side, seconds, tags): side is "server" or "client"; tags are those of the duration metric.
RequestObserver = Callable[[str, float, Tags], None]

_observers: list[RequestObserver] = []


def observe_requests(observer: RequestObserver) -> Callable[[], None]:
    """Tell ``observer`` of every request, sampled or not; returns the way to stop that.

    This is where metrics come in: tracing itself knows none.
    """
    _observers.append(observer)
    return lambda: _observers.remove(observer) if observer in _observers else None


def observed(side: str, seconds: float, tags: Tags) -> None:
    """Hand one request to the observers; one that fails is ignored."""
    for observer in _observers:
        try:
            observer(side, seconds, tags)
        except Exception:
            continue


def is_observed() -> bool:
    """Whether anybody wants to hear of requests."""
    return bool(_observers)


def method_tags(method: str) -> Tags:
    """The request method, and the original of one that is not in the list."""
    upper = method.upper()
    if upper in METHODS:
        return {"http.request.method": upper}
    return {"http.request.method": OTHER, "http.request.method_original": method}


def span_name(method: str, route: str | None) -> str:
    """``GET /items/{id}``; without a route only the method, never the raw path."""
    known = method.upper() if method.upper() in METHODS else "HTTP"
    return f"{known} {route}" if route else known


def client_tags(method: str, url: str) -> Tags:
    """Tags of an outgoing request. Credentials in the URL are left out."""
    tags = method_tags(method)
    parts = urlsplit(url)
    tags["url.full"] = _without_credentials(parts)
    if parts.hostname:
        tags["server.address"] = parts.hostname
        tags["server.port"] = _port(parts)
    return tags


def _port(parts: SplitResult) -> int:
    try:
        port = parts.port
    except ValueError:  # "http://host:nonsense" is the client library's to refuse
        port = None
    return port if port is not None else 443 if parts.scheme == "https" else 80


def _without_credentials(parts: SplitResult) -> str:
    if "@" not in parts.netloc:
        return urlunsplit(parts)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"REDACTED:REDACTED@{host}"))


def set_status(span: Span, status: int, *, server: bool) -> None:
    """Status code, and error where the conventions see one: 5xx, and 4xx of a client's."""
    span.set_tag("http.response.status_code", status)
    if status >= (500 if server else 400):
        span.set_tag("error.type", str(status))
        span.set_status(STATUS_ERROR)


def metric_tags(
    method: str, scheme: str, route: str | None, status: int | None, error_type: str | None
) -> Tags:
    """Tags of ``http.server.request.duration`` and ``http.client.request.duration``."""
    upper = method.upper()
    tags: Tags = {
        "http.request.method": upper if upper in METHODS else OTHER,
        "url.scheme": scheme,
    }
    if route:
        tags["http.route"] = route
    if status is not None:
        tags["http.response.status_code"] = status
    if error_type:
        tags["error.type"] = error_type
    return tags
