"""Zipkin's own page in a real browser, on our API: search, a trace, the dependency graph."""

from __future__ import annotations

import json
import os
import shutil
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .running import serving

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")

_BESIDE = Path(__file__).parents[3] / ".parts" / "zipkin"
PARTS = Path(os.environ.get("LOOKOUT_ZIPKIN_PARTS", _BESIDE))
JAR = next(PARTS.glob("zipkin-lens-*.jar"), None)
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")

pytestmark = [
    pytest.mark.skipif(JAR is None, reason=f"no zipkin-lens in {PARTS}: run scripts/parts-zipkin"),
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="chromium and chromedriver are needed"),
]

NOW_US = time.time_ns() // 1000 - 5_000_000
SPANS = [
    {"traceId": "a1", "id": "1", "kind": "SERVER", "name": "get /", "timestamp": NOW_US,
     "duration": 5000, "localEndpoint": {"serviceName": "storefront"}},
    {"traceId": "a1", "id": "2", "parentId": "1", "kind": "CLIENT", "name": "call",
     "timestamp": NOW_US + 1000, "duration": 3000,
     "localEndpoint": {"serviceName": "storefront"},
     "remoteEndpoint": {"serviceName": "warehouse"}, "tags": {"error": "boom"}},
]  # fmt: skip


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A collector of one tenant with the page and a trace."""
    page = {"LOOKOUT_ZIPKIN_UI": str(JAR)}
    with serving(tmp_path_factory.mktemp("lens"), env=page, multitenancy=False) as base_url:
        post = urllib.request.Request(f"{base_url}/api/v2/spans", json.dumps(SPANS).encode())
        with urllib.request.urlopen(post) as answer:
            assert answer.status == 202
        yield base_url


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1400,900"):
        options.add_argument(argument)
    opened = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    yield opened
    opened.quit()


def shows(browser: Any, *texts: str) -> None:
    """Wait until the page's text has all of these."""
    deadline = time.monotonic() + 30
    seen = ""
    while time.monotonic() < deadline:
        seen = browser.find_element("tag name", "body").text
        if all(text.lower() in seen.lower() for text in texts):
            return
        time.sleep(0.1)
    raise AssertionError(f"the page does not show {texts}: {seen}")


def test_search_shows_the_trace(browser: Any, url: str) -> None:
    """A link to a search opens with its results: the root's name and service."""
    end = NOW_US // 1000 + 60_000
    query = f"serviceName=storefront&annotationQuery=error&lookback=15m&limit=10&endTs={end}"
    browser.get(f"{url}/zipkin/?{query}")
    shows(browser, "storefront", "get /")


def test_trace_shows_spans_and_tags(browser: Any, url: str) -> None:
    """A trace opens by its id with its spans, services and duration."""
    browser.get(f"{url}/zipkin/traces/00000000000000a1")
    shows(browser, "storefront", "call", "5ms", "00000000000000a1")


def test_dependencies_are_drawn(browser: Any, url: str) -> None:
    """The dependency page asks for the links of its range and draws a graph of them."""
    since, until = NOW_US // 1000 - 3_600_000, NOW_US // 1000 + 60_000
    browser.get(f"{url}/zipkin/dependency?startTime={since}&endTime={until}")
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and not browser.find_elements("tag name", "canvas"):
        time.sleep(0.1)
    assert browser.find_elements("tag name", "canvas"), browser.page_source
    asked = browser.execute_script(
        "return performance.getEntriesByType('resource').map(entry => entry.name)"
    )
    assert any("/zipkin/api/v2/dependencies?" in name for name in asked), asked
