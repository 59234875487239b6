"""A known load through three services, and everything that must be found of it afterwards."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from examples.processes import wait_until
from examples.shop.catalogue import ITEMS
from examples.shop.load import MIX, Load, Sent
from grafana.expressions import SERVICES, filled

from .conftest import Site, site, wait_balanced

ROUNDS = 6
REQUESTS = ROUNDS * len(MIX)

RESERVED = [
    ("stock", "send reservation", "PRODUCER", [
        ("stock", "process reservation", "CONSUMER", [
            ("stock", "update stock", "CLIENT", [("stock", "select stock", "CLIENT", [])]),
        ]),
    ]),
]  # fmt: skip


def reserve_call(*below: Any) -> Any:
    return ("orders", "post", "CLIENT", [
        ("stock", "post /stock/{item}/reserve", "SERVER", list(below)),
    ])  # fmt: skip


def checkout(*steps: Any) -> Any:
    return ("gateway", "post /checkout/{item}", "SERVER", [
        ("gateway", "post", "CLIENT", [("orders", "post /orders/<name>", "SERVER", list(steps))]),
    ])  # fmt: skip


PRICE = ("orders", "price", None, [])
CHARGE = ("orders", "charge card", None, [])
ORDERED = checkout(CHARGE, PRICE, ("orders", "reserve", None, [reserve_call(*RESERVED)]))
RETRIED = checkout(
    CHARGE, PRICE, ("orders", "reserve", None, [reserve_call(), reserve_call(*RESERVED)])
)
BROWSED = ("gateway", "get /browse", "SERVER", [
    ("gateway", "ask stock", None, [
        ("gateway", "get", "CLIENT", [
            ("stock", "get /stock/{item}", "SERVER", [("stock", "select stock", "CLIENT", [])]),
        ]),
    ])
    for _ in ITEMS
])  # fmt: skip
EXPECTED = {
    "/browse": BROWSED,
    "/checkout/unicorn": checkout(),
    "/checkout/vase": RETRIED,
    "/crash": ("gateway", "get /crash", "SERVER", []),
    **{f"/checkout/{name}": ORDERED for name in ("lamp", "chair", "clock", "safe", "desk")},
}


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, Sent]]:
    """The site after the load has ended and every service has flushed and exited."""
    with site(tmp_path_factory.mktemp("shop")) as found:
        load = Load(found.services["gateway"].url, rate=60, limit=REQUESTS)
        load.start()
        sent = load.wait()
        found.stop_shop()
        yield found, sent


def tree(spans: list[dict[str, Any]], parent: str | None = None) -> list[Any]:
    """Nested (service, name, kind, children), children sorted."""
    return sorted(
        (
            (span["localEndpoint"]["serviceName"], span["name"], span.get("kind"), below)
            for span in spans
            if span.get("parentId") == parent
            for below in [tree(spans, span["id"])]
        ),
        key=repr,
    )


def ordered(expected: Any) -> Any:
    service, name, kind, below = expected
    return (service, name, kind, sorted((ordered(item) for item in below), key=repr))


def test_every_request_is_answered_as_the_shop_means_to(loaded: tuple[Site, Sent]) -> None:
    """Tracing changes nothing of what the application answers."""
    _, sent = loaded
    assert sent.unexpected == []
    assert sent.requests == Counter((method, path) for method, path, _ in MIX * ROUNDS)


def test_each_trace_holds_the_expected_tree(loaded: tuple[Site, Sent]) -> None:
    """One trace a request, whole, over three services, with each span under its caller."""
    found, _ = loaded
    traces = found.traces(serviceName="gateway", limit="1000")
    assert len(traces) == REQUESTS
    seen: Counter[str] = Counter()
    for spans in traces:
        root = next(span for span in spans if "parentId" not in span)
        path = root["tags"]["url.path"]
        assert tree(spans) == [ordered(EXPECTED[path])], path
        seen[path] += 1
    assert seen == Counter(path for _, path, _ in MIX * ROUNDS)


def test_errors_are_marked_where_they_happened(loaded: tuple[Site, Sent]) -> None:
    """A declined payment, a retried call and a crash are marked; serving a 404 is not."""
    found, _ = loaded
    query = {"serviceName": "orders", "annotationQuery": "error", "limit": "1000"}
    assert len(found.traces(spanName="charge card", **query)) == 2 * ROUNDS
    failed = Counter(
        span["name"]
        for spans in found.traces(**query)
        for span in spans
        if span["localEndpoint"]["serviceName"] == "orders" and "error" in span["tags"]
    )
    assert failed == {"charge card": ROUNDS, "post": ROUNDS}
    crashed = found.traces(serviceName="gateway", spanName="get /crash", annotationQuery="error")
    assert len(crashed) == ROUNDS
    lost = [
        spans
        for spans in found.traces(serviceName="orders", limit="1000")
        if any(span.get("tags", {}).get("url.path") == "/orders/unicorn" for span in spans)
    ]
    servers = [span for spans in lost for span in spans if span.get("kind") == "SERVER"]
    assert servers and not any("error" in span["tags"] for span in servers)


def test_slow_calls_are_found_by_duration(loaded: tuple[Site, Sent]) -> None:
    """minDuration finds the requests that touched the slow item, which each browse does, and of the
    others those that a busy machine made as slow."""
    found, _ = loaded
    slow = traces_of(found.traces(serviceName="stock", minDuration="150000", limit="1000"))
    every = found.traces(serviceName="stock", limit="1000")
    browsing = [spans for spans in every if any(browses(span) for span in spans)]
    lasting = [spans for spans in every if any(slow_in_stock(span) for span in spans)]
    assert len(browsing) == sum(path == "/browse" for _, path, _ in MIX) * ROUNDS
    assert traces_of(browsing) <= slow == traces_of(lasting)


def traces_of(found: list[list[dict[str, Any]]]) -> set[str]:
    """Their ids."""
    return {spans[0]["traceId"] for spans in found}


def browses(span: dict[str, Any]) -> bool:
    return bool(span.get("tags", {}).get("url.path") == "/browse")


def slow_in_stock(span: dict[str, Any]) -> bool:
    return span["localEndpoint"]["serviceName"] == "stock" and span.get("duration", 0) >= 150_000


def test_dependencies_link_the_three_services(loaded: tuple[Site, Sent]) -> None:
    """The dependency graph counts every call between the services."""
    found, _ = loaded
    now = str(int(time.time() * 1000))
    links = {
        (link["parent"], link["child"]): link["callCount"]
        for link in _dependencies(found, now)
        if link["parent"] != link["child"]
    }
    rounds = Counter(path for _, path, _ in MIX * ROUNDS)
    checkouts = sum(count for path, count in rounds.items() if path.startswith("/checkout/"))
    reservations = checkouts - rounds["/checkout/unicorn"] + rounds["/checkout/vase"]
    assert links == {
        ("gateway", "orders"): checkouts,
        ("orders", "stock"): reservations,
        ("gateway", "stock"): rounds["/browse"] * len(ITEMS),
    }


def _dependencies(found: Site, end: str) -> list[dict[str, Any]]:
    from .conftest import get

    links: list[dict[str, Any]] = get(f"{found.url}/api/v2/dependencies", endTs=end)
    return links


def last_sample(found: Site, selector: str) -> float:
    """Unix time of the newest sample: there nothing is extrapolated to the right."""
    stamps = found.query(f"max(timestamp({selector}))")
    return float(stamps[0]["value"][1])


def test_increase_equals_the_number_of_requests_sent(loaded: tuple[Site, Sent]) -> None:
    """sum(increase(...)) over the run is exactly what the load generator counted."""
    found, sent = loaded
    name = 'http_server_request_duration_seconds_count{job="gateway"}'
    last = last_sample(found, name)
    total = found.query(f"sum(increase({name}[10m]))", at=last)
    assert float(total[0]["value"][1]) == pytest.approx(sent.total, abs=1e-6)


def test_every_dashboard_expression_returns_series(loaded: tuple[Site, Sent]) -> None:
    """Each graph of the services dashboard has something to draw on the shop's data."""
    found, _ = loaded
    last = last_sample(found, "http_server_request_duration_seconds_count")
    for panel in SERVICES:
        for expression in panel.expressions.values():
            rows = found.query(filled(expression), at=last)
            assert rows, (panel.title, expression)
            assert any(float(row["value"][1]) > 0 for row in rows), (panel.title, rows)


def test_business_metrics_add_up(loaded: tuple[Site, Sent]) -> None:
    """The shop's own counters hold what its services did, by tag."""
    found, _ = loaded
    rows = found.query("sum by (result) (last_over_time(shop_payments_total[10m]))")
    assert {row["metric"]["result"]: float(row["value"][1]) for row in rows} == {
        "accepted": 5.0 * ROUNDS,
        "declined": 1.0 * ROUNDS,
    }


def test_digest_lines_equal_spans_created(loaded: tuple[Site, Sent]) -> None:
    """Every created span has exactly one line in the digest logs on disk."""
    found, _ = loaded
    created = sum(row["created"] for row in found.ledger())
    lines = found.digest_lines()
    assert len(lines) == created
    assert len({(line["traceId"], line["id"]) for line in lines}) == created


def test_the_ledger_balances(loaded: tuple[Site, Sent]) -> None:
    """Created = stored + sampled out + dropped, and nothing was dropped."""
    found, _ = loaded
    wait_balanced(found)
    assert {row["service"] for row in found.ledger()} == {"gateway", "orders", "stock"}


def test_a_finished_span_is_queryable_within_two_seconds(tmp_path: Any) -> None:
    """From the answer of a request to its trace in the collector: at most 2 s."""
    with site(tmp_path) as found:
        warm = Load(found.services["gateway"].url, rate=50, limit=10)
        warm.start()
        warm.wait()
        wait_until(
            lambda: len(found.traces(serviceName="gateway", limit="100")) == 10, 20, "10 traces"
        )
        load = Load(found.services["gateway"].url, rate=50, limit=2)
        load.start()
        load.wait()
        wait_until(lambda: len(found.traces(serviceName="gateway", limit="100")) == 12, 2, "2 more")
