"""The built-in page in a real browser: find traces, read one, all from the keyboard too."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from examples.processes import Child

from .conftest import checkout_trace, many_services, post, trace_id, trace_with_afterwork


class Page:
    """What a person does with the page."""

    def __init__(self, browser: webdriver.Chrome, url: str) -> None:
        self.browser, self.url = browser, url

    def open(self, fragment: str = "") -> None:
        self.browser.get("about:blank")
        self.browser.get(f"{self.url}/{fragment}")

    def until(self, condition: Callable[[], Any]) -> Any:
        return WebDriverWait(self.browser, 15).until(lambda _: condition())

    def all(self, selector: str) -> list[WebElement]:
        return self.browser.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector: str) -> WebElement:
        return self.until(lambda: self.all(selector) or None)[0]  # type: ignore[no-any-return]

    def press(self, *keys: str) -> None:
        self.browser.switch_to.active_element.send_keys(*keys)

    def search(self, **fields: str) -> list[WebElement]:
        for name, value in fields.items():
            field = self.one(f"form.filters [name={name}]")
            if field.get_attribute("type") == "checkbox":
                field.click()
            else:
                field.clear()
                field.send_keys(value)
        before = self.browser.current_url
        self.one("form.filters button").click()
        self.until(lambda: self.browser.current_url != before)
        return self.until(lambda: self.all("a.trace"))  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def filled(collector: Child) -> Child:
    """Ten traces: one of them failed, one of them slow."""
    for number in range(1, 11):
        post(
            collector,
            checkout_trace(number, error=number == 3, milliseconds=900 if number == 5 else 40),
        )
    return collector


@pytest.fixture
def page(browser: webdriver.Chrome, filled: Child) -> Iterator[Page]:
    """The page; afterwards the browser must have had nothing to complain about."""
    found = Page(browser, filled.url)
    browser.get_log("browser")
    yield found
    complaints = [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert complaints == []


def test_recent_traces_are_shown_at_once(page: Page) -> None:
    """Opening the page lists recent traces with service, span count and duration."""
    page.open()
    rows = page.until(lambda: len(page.all("a.trace")) == 10 and page.all("a.trace"))
    assert "gateway" in rows[0].text and "post /checkout" in rows[0].text
    assert "4 spans" in rows[0].text and "40 ms" in rows[0].text
    assert page.browser.title == "Lookout"


def test_filters_narrow_the_list(page: Page) -> None:
    """Service, errors and duration each leave only what matches, and the address keeps them."""
    page.open()
    page.one("a.trace")
    rows = page.search(service="orders", errors="1")
    assert [row.get_attribute("data-trace") for row in rows] == [trace_id(3)]
    assert "service=orders" in page.browser.current_url
    page.open("#/?min=500ms")
    page.until(lambda: len(page.all("a.trace")) == 1)
    assert page.one("a.trace").get_attribute("data-trace") == trace_id(5)


def test_a_duration_that_is_none_is_explained(page: Page) -> None:
    """Nonsense in a field gets a sentence with what was expected."""
    page.open("#/?min=soon")
    notice = page.until(lambda: page.one("#notice").text)
    assert '"soon" is no duration; expected for example 250us' in notice


def test_longest_first(page: Page) -> None:
    """The order by duration puts the slow trace on top."""
    page.open("#/?sort=longest")
    page.until(lambda: len(page.all("a.trace")) == 10)
    assert page.all("a.trace")[0].get_attribute("data-trace") == trace_id(5)


def test_more_traces_are_shown_on_demand(page: Page) -> None:
    """A full page ends with a button that leads to the next one, until there are no more."""
    page.open("#/?limit=4")
    for shown in (4, 8, 10):
        page.until(lambda shown=shown: len(page.all("a.trace")) == shown)
        if shown < 10:
            page.one("button.more").click()
    assert page.all("button.more") == []
    found = [row.get_attribute("data-trace") for row in page.all("a.trace")]
    assert found == [trace_id(number) for number in range(10, 0, -1)]


@pytest.mark.parametrize("width", [360, 768, 1280])
@pytest.mark.parametrize("fragment", ["", f"#/trace/{trace_id(3)}", "#/dependencies", "#/query"])
def test_nothing_stands_out_of_the_window(page: Page, width: int, fragment: str) -> None:
    """At the widths of a phone, a tablet and a desktop no page scrolls sideways."""
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    page.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        page.open(fragment)
        page.until(lambda: page.all("a.trace, .row, [data-service], form.filters"))
        page.until(lambda: not page.all(".loading"))
        beyond = "return document.documentElement.scrollWidth - window.innerWidth"
        assert page.browser.execute_script(beyond) <= 0
    finally:
        page.browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_a_wait_and_an_empty_list_are_explained(page: Page) -> None:
    """Nothing found is said in the list's place, with what to do."""
    page.open("#/?service=nobody")
    assert "No traces match" in page.one(".message").text


def test_waterfall_shows_the_tree_with_clocks_corrected(page: Page) -> None:
    """The shared server span stands under its client and inside its time, tags beside it."""
    page.open(f"#/trace/{trace_id(3)}")
    rows = page.until(lambda: len(page.all(".row")) == 4 and page.all(".row"))
    assert [row.get_attribute("aria-level") for row in rows] == ["1", "2", "3", "4"]
    assert [row.find_element(By.TAG_NAME, "b").text for row in rows] == [
        "gateway", "gateway", "orders", "orders",
    ]  # fmt: skip
    bars = [row.find_element(By.CSS_SELECTOR, ".span").rect for row in rows]
    assert all(
        bars[0]["x"] <= bar["x"] and bar["x"] + bar["width"] <= bars[0]["x"] + bars[0]["width"] + 1
        for bar in bars
    )
    rows[2].click()
    details = page.until(lambda: "declined" in page.one(".details").text and page.one(".details"))
    assert "joined its client's span id" in details.text
    assert "moved by" in details.text


def test_everything_works_from_the_keyboard(page: Page) -> None:
    """Arrows choose a trace, Enter opens it, arrows walk and fold the tree, Escape goes back."""
    page.open()
    page.until(lambda: len(page.all("a.trace")) == 10)
    page.one("[data-list]").send_keys(Keys.ARROW_DOWN)
    page.press(Keys.ARROW_DOWN)
    chosen = page.browser.switch_to.active_element
    found = chosen.get_attribute("data-trace")
    page.press(Keys.ENTER)
    page.until(lambda: len(page.all(".row")) == 4)
    assert str(found) in page.browser.current_url
    page.press(Keys.ARROW_DOWN)
    page.until(lambda: page.one("[aria-selected=true]").get_attribute("aria-level") == "2")
    page.press(Keys.ARROW_LEFT)
    page.until(lambda: len(page.all(".row")) == 2)
    page.press(Keys.ARROW_RIGHT)
    page.until(lambda: len(page.all(".row")) == 4)
    page.press(Keys.ESCAPE)
    page.until(lambda: len(page.all("a.trace")) == 10)


def test_a_link_to_a_span_opens_on_it(page: Page) -> None:
    """A permalink names trace and span; the page opens with that span chosen."""
    page.open(f"#/trace/{trace_id(5)}?span={5 * 16 + 3:016x}")
    row = page.one("[aria-selected=true]")
    assert row.get_attribute("data-span") == f"{5 * 16 + 3:016x}"
    assert "cache miss" in page.one(".details").text


def test_an_unknown_trace_is_named(browser: webdriver.Chrome, filled: Child) -> None:
    """A trace id that is not there is repeated, with what to check and the way back."""
    page = Page(browser, filled.url)
    page.open("#/trace/00000000000000ff")
    text = page.one(".message").text
    assert "No trace has this id" in text and "00000000000000ff" in text
    assert "16 or 32 hexadecimal digits" in text
    page.one(".message a").click()
    page.one("a.trace")


def test_dependencies_draw_the_services(page: Page) -> None:
    """The graph has a box for each service and the table counts the calls."""
    page.open("#/dependencies")
    boxes = page.until(lambda: page.all("[data-service]"))
    assert {box.get_attribute("data-service") for box in boxes} == {"gateway", "orders"}
    cells = [cell.text for cell in page.all("table.calls td")]
    assert cells == ["gateway", "orders", "10", "1"]


@pytest.mark.parametrize(
    ("cut", "text"),
    [
        ((60_000, 0, ""), r"Calls from 20[\d-]+ [\d:.]+: before more came than can be counted .*"),
        ((0, 60_000, ""), r"Calls until 20[\d-]+ [\d:.]+: since then more came .*"),
        ((9, 9, ""), r"Calls from 20[\d-]+ [\d:.]+ until 20.*: outside of that more came .*"),
        ((0, 0, "; crossing=300000"), r"Traces that were idle for 5 minutes before .*"),
    ],
)
def test_dependencies_say_what_they_are_of(
    page: Page, cut: tuple[int, int, str], text: str
) -> None:
    """Where the collector could count only a part of the range, the page says which."""
    page.open("#/query")
    page.browser.execute_script(
        """
        const [later, earlier, more] = arguments;
        window.fetch = async (url) => {
          const asked = new URLSearchParams(url.split("?")[1]);
          const [end, back] = [Number(asked.get("endTs")), Number(asked.get("lookback"))];
          const linked = `${end - back + later}-${end - earlier}${more}`;
          return new Response("[]", { headers: { "X-Lookout-Linked": linked } });
        };
        location.hash = "#/dependencies";
        """,
        *cut,
    )
    assert re.fullmatch(text, page.one("p.linked").text)


def test_a_trace_of_ten_thousand_spans_keeps_the_page_small(page: Page, filled: Child) -> None:
    """A huge trace opens with only the rows in sight in the page, and scrolls to its end."""
    root = checkout_trace(99, milliseconds=20_000)[0]
    children = [
        {**root, "id": f"{n + 0x10000:016x}", "parentId": root["id"], "kind": "CLIENT",
         "name": f"step {n}", "timestamp": root["timestamp"] + n, "duration": 5}
        for n in range(9_999)
    ]  # fmt: skip
    post(filled, [root, *children])
    page.open(f"#/trace/{trace_id(99)}")
    page.until(lambda: "10,000 spans" in page.one(".facts").text)
    assert len(page.all(".row")) < 120
    page.one(".waterfall").send_keys(Keys.END)
    page.until(lambda: "step 9998" in page.one("[aria-selected=true]").text)


def test_services_have_colours_of_their_own_and_none_is_red(page: Page, filled: Child) -> None:
    """Eighteen services in a trace are told apart by colour; red is left to errors."""
    post(filled, many_services(100, 18))
    page.open(f"#/trace/{trace_id(100)}")
    bars = page.until(lambda: len(page.all(".row .span")) == 18 and page.all(".row .span"))
    colours = [bar.value_of_css_property("background-color") for bar in bars]
    assert len(set(colours)) == 18
    hues = [float(re.findall(r"[\d.]+", colour)[2]) for colour in colours]
    assert all(50 < hue < 340 for hue in hues)


def test_a_service_keeps_its_colour_from_page_to_page(page: Page) -> None:
    """The dot in the list and the bar in the trace, opened anew, have the same colour."""
    page.open("#/")
    row = page.until(lambda: page.one(f'a.trace[data-trace="{trace_id(4)}"]'))
    dots = row.find_elements(By.CSS_SELECTOR, ".dot")
    listed = {dot.value_of_css_property("background-color") for dot in dots}
    page.open(f"#/trace/{trace_id(4)}")
    bars = page.until(lambda: len(page.all(".row .span")) == 4 and page.all(".row .span"))
    assert {bar.value_of_css_property("background-color") for bar in bars} == listed


def test_list_and_trace_show_the_same_duration(page: Page, filled: Child) -> None:
    """From the first start to the last end; the order by longest span also says that span's."""
    post(filled, trace_with_afterwork(101))
    page.open("#/?service=late&lookback=6h")
    assert page.one("a.trace .took").text == "138 ms"
    page.open("#/?service=late&lookback=6h&sort=longest")
    assert page.one("a.trace .took").text == "138 ms"
    assert page.one("a.trace .longest").text == "longest span 118 ms"
    assert "longest span of late first" in page.one(".tally").text
    page.open(f"#/trace/{trace_id(101)}")
    assert page.one(".facts b").text == "138 ms"


def test_metrics_have_round_marks_and_a_24_hour_clock(page: Page) -> None:
    """Values are marked at round numbers, times at round local times; the hint's label exists."""
    page.open("#/query?q=vector(137)&minutes=60")
    page.one(".chart")
    assert [mark.text for mark in page.all(".chart .value")] == ["0", "50", "100", "150"]
    times = [mark.text for mark in page.all(".chart .time")]
    assert times
    assert all(re.fullmatch(r"([01]\d|2[0-3]):[0-5]0", time) for time in times)
    assert "by (job)" in str(page.one("[name=q]").get_attribute("placeholder"))


def test_many_series_are_cut_with_a_sentence(page: Page) -> None:
    """More lines than can be told apart are not drawn, and the page says how many there are."""
    series = " or ".join(f'label_replace(vector({n}), "n", "{n}", "", "")' for n in range(60))
    page.open(f"#/query?q={quote(series)}")
    page.until(lambda: page.one("#notice").text == "Drawing the first 50 of 60 series.")
    assert len(page.all(".chart .series")) == 50


@pytest.mark.parametrize(
    ("least", "most", "expected"),
    [(0, 1, [0, 0.5, 1]), (0, 0.3, [0, 0.1, 0.2, 0.3]), (-7, 3, [-10, -5, 0, 5]), (0, 0, [0, 1])],
)
def test_axis_marks_are_round_numbers(
    page: Page, least: float, most: float, expected: list[float]
) -> None:
    """The marks are multiples of 1, 2 or 5 times a power of ten that enclose the values."""
    page.open("#/query")
    script = "import('/ui/ticks.js').then((m) => arguments[1](m.roundTicks(...arguments[0])))"
    assert page.browser.execute_async_script(script, [least, most]) == expected


def test_tag_keys_break_between_words_and_long_values_fold(page: Page, filled: Child) -> None:
    """A key wraps after a dot; 16,000 characters show their beginning until asked for all."""
    span = checkout_trace(102)[0]
    tags = {"client.address": "10.0.0.1", "db.query.text": "<b>" + "x" * 15_997}
    post(filled, [span | {"tags": tags}])
    page.open(f"#/trace/{trace_id(102)}")
    button = page.one(".details .fold")
    assert button.text == "Show all 16,000 characters"
    cell = button.find_element(By.XPATH, "..")
    assert cell.text.startswith("<b>xxx") and len(cell.text) < 500
    button.click()
    assert "x" * 15_997 in cell.text and button.text == "Show less"
    button.click()
    assert len(cell.text) < 500
    keys = [key for key in page.all(".details th") if "." in key.text]
    parts = [key.get_attribute("innerHTML").split("<wbr>") for key in keys]
    assert parts == [["client.", "address"], ["db.", "query.", "text"]]
