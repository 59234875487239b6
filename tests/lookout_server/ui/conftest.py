"""A real headless Chromium, and a collector with a few traces for it to show."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
import urllib3
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from examples.processes import Child

#: Without these Chromium talks to the world at every start.
ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1280,900",
)


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """Debian's chromium with its driver; skips where they are not installed."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("chromium and chromedriver are not installed (scripts/parts gets them)")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in (*ARGUMENTS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    chrome = webdriver.Chrome(options=options, service=Service(driver))
    yield chrome
    chrome.quit()


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Child]:
    """A collector of its own on a free port."""
    data = str(tmp_path_factory.mktemp("data"))
    child = Child(
        "collector",
        ["-m", "lookout_server", "serve", "--data-dir", data, "--listen", "127.0.0.1:0"],
        {},
    )
    child.wait_ready()
    yield child
    if child.running:
        child.kill()


def post(collector: Child, spans: list[dict[str, Any]]) -> None:
    reply = urllib3.request("POST", f"{collector.url}/api/v2/spans", body=orjson.dumps(spans))
    assert reply.status == 202, reply.data


def trace_id(number: int) -> str:
    """128 bits, as hexadecimal."""
    return f"{0x5CA1AB1E << 96 | number:032x}"


def checkout_trace(number: int, *, error: bool = False, milliseconds: int = 40) -> list[Any]:
    """Four spans over three services; the call to orders shares its client's span id."""
    start = int(time.time() * 1e6) - 60_000_000 + number * 1000
    length = milliseconds * 1000

    def span(id_: int, parent: int | None, service: str, name: str, **more: Any) -> dict[str, Any]:
        found = {"traceId": trace_id(number), "id": f"{id_:016x}", "name": name, **more}
        found["localEndpoint"] = {"serviceName": service, "ipv4": f"10.0.0.{len(service)}"}
        if parent:
            found["parentId"] = f"{parent:016x}"
        return found

    base = number * 16
    failed = {"error": "declined"} if error else {}
    return [
        span(base + 1, None, "gateway", "post /checkout", kind="SERVER", timestamp=start,
             duration=length, tags={"http.request.method": "POST"}),
        span(base + 2, base + 1, "gateway", "post", kind="CLIENT", timestamp=start + 1000,
             duration=length - 2000),
        # The server's clock is an hour ahead: the page must move it inside the call.
        span(base + 2, base + 1, "orders", "post /orders", kind="SERVER", shared=True,
             timestamp=start + 3_600_000_000, duration=length - 4000, tags=failed),
        span(base + 3, base + 2, "orders", "select stock", kind="CLIENT",
             timestamp=start + 3_600_001_000, duration=1000,
             annotations=[{"timestamp": start + 3_600_001_500, "value": "cache miss"}]),
    ]  # fmt: skip


def many_services(number: int, services: int) -> list[dict[str, Any]]:
    """A trace that goes through so many services, one span each."""
    start = int(time.time() * 1e6) - 7_200_000_000
    return [
        {"traceId": trace_id(number), "id": f"{at + 1:016x}", "name": "step",
         "timestamp": start + at, "duration": 1000 - at,
         "localEndpoint": {"serviceName": f"service-{at}"},
         **({"parentId": f"{at:016x}"} if at else {})}
        for at in range(services)
    ]  # fmt: skip


def trace_with_afterwork(number: int) -> list[dict[str, Any]]:
    """A request of 118 ms whose background task ends 20 ms after the response."""
    start = int(time.time() * 1e6) - 10_800_000_000
    both = {"traceId": trace_id(number), "localEndpoint": {"serviceName": "late"}}
    root, task = f"{1:016x}", f"{2:016x}"
    return [
        {**both, "id": root, "timestamp": start, "duration": 118_000},
        {**both, "id": task, "parentId": root, "timestamp": start + 100_000, "duration": 38_000},
    ]
