"""What the dashboards ask, apart from how they draw it: tests run each expression on real data.

``$job`` and ``$__rate_interval`` are Grafana's; :func:`filled` puts plain values in their place.
"""

from __future__ import annotations

from dataclasses import dataclass

REQUESTS = "http_server_request_duration_seconds"
CALLS = "http_client_request_duration_seconds"


@dataclass(frozen=True, slots=True)
class Panel:
    """One graph: ``expressions`` maps a legend (Grafana's format) to PromQL."""

    title: str
    unit: str
    expressions: dict[str, str]
    description: str = ""


def _rate(metric: str, by: str, more: str = "") -> str:
    return f'sum by ({by}) (rate({metric}{{job=~"$job"{more}}}[$__rate_interval]))'


def _quantile(quantile: float, metric: str, by: str) -> str:
    return f"histogram_quantile({quantile}, {_rate(f'{metric}_bucket', f'le, {by}')})"


ERRORS = ', error_type!=""'

#: Rate, errors and duration of each service and route, and of the calls it makes.
SERVICES = (
    Panel("Requests", "reqps", {"{{job}}": _rate(f"{REQUESTS}_count", "job")}),
    Panel(
        "Failed requests",
        "percentunit",
        {
            "{{job}}": f"{_rate(f'{REQUESTS}_count', 'job', ERRORS)} "
            f"/ {_rate(f'{REQUESTS}_count', 'job')}"
        },
        "Share of requests that ended in a 5xx or an exception.",
    ),
    Panel(
        "Duration, 95 of 100",
        "s",
        {"{{job}}": _quantile(0.95, REQUESTS, "job")},
        "Of requests served. Exemplars lead to traces.",
    ),
    Panel(
        "Requests by route",
        "reqps",
        {"{{job}} {{http_route}}": _rate(f"{REQUESTS}_count", "job, http_route")},
    ),
    Panel(
        "Duration by route",
        "s",
        {
            "{{job}} {{http_route}}": f"{_rate(f'{REQUESTS}_sum', 'job, http_route')} "
            f"/ {_rate(f'{REQUESTS}_count', 'job, http_route')}"
        },
        "Mean.",
    ),
    Panel(
        "Answers by status",
        "reqps",
        {
            "{{job}} {{http_response_status_code}}": _rate(
                f"{REQUESTS}_count", "job, http_response_status_code"
            )
        },
    ),
    Panel("Calls made", "reqps", {"{{job}}": _rate(f"{CALLS}_count", "job")}),
    Panel("Duration of calls, 95 of 100", "s", {"{{job}}": _quantile(0.95, CALLS, "job")}),
    Panel(
        "Failed calls",
        "reqps",
        {"{{job}} {{error_type}}": _rate(f"{CALLS}_count", "job, error_type", ERRORS)},
    ),
)


def filled(expression: str, *, job: str = ".*", interval: str = "1m") -> str:
    """The expression as Grafana would send it."""
    for name, value in (("$job", job), ("$service", ".*"), ("$__rate_interval", interval)):
        expression = expression.replace(name, value)
    return expression
