"""The page in a browser: no request leaves it, figures answer the pointer, tables sort and filter, it looks as meant.

Needs Chromium (`apt-get install chromium`), which .ci/run installs where it can.
"""

from __future__ import annotations

import io
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Error, Page, expect, sync_playwright
from report_samples import FIRST, explained_drift, large_drift

from refnet.drift import OWN
from refnet.report.chart import ran
from refnet.report.html import write_html
from refnet.report.theme import DARK, LIGHT

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")

NAMES = [row.variant for row in ran(large_drift())]
DESKTOP, PHONE = {"width": 1200, "height": 900}, {"width": 390, "height": 800}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "drift.html"
    write_html(large_drift(), path)
    return path


def opened(browser: Browser, file: Path, **how: object) -> tuple[Page, list[str]]:
    """The page without any network, once its figures are drawn; what it asked for and what went wrong is listed."""
    context: BrowserContext = browser.new_context(offline=True, **{"viewport": DESKTOP, **how})
    page, events = context.new_page(), []
    page.on("request", lambda request: events.append(request.url))
    page.on("console", lambda message: events.append(message.text))
    page.on("pageerror", lambda error: events.append(str(error)))
    page.goto(file.as_uri())
    page.wait_for_function("document.querySelectorAll('.chart svg').length === 3")
    return page, events


@pytest.fixture(scope="module")
def page(browser: Browser, file: Path) -> Page:
    return opened(browser, file)[0]


def picture_of(page: Page, selector: str) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(page.locator(selector).first.screenshot())).convert("RGB"))


def count(picture: NDArray[np.uint8], colour: str) -> int:
    """How many pixels have that colour, `#rrggbb`."""
    wanted = np.array([int(colour[start : start + 2], 16) for start in (1, 3, 5)])
    return int((np.abs(picture.astype(int) - wanted).max(axis=-1) <= 6).sum())


def column(page: Page, table: str, number: int) -> list[str]:
    """The texts that can be seen in a column, from the top."""
    script = """([table, number]) => [...document.getElementById(table).tBodies[0].rows]
        .filter((row) => !row.hidden).map((row) => row.cells[number].textContent)"""
    return list(page.evaluate(script, [table, number]))


# --- network ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_no_request_leaves_the_page_and_nothing_goes_wrong(browser, file, size):
    page, events = opened(browser, file, viewport=size)
    page.mouse.wheel(0, 5000)
    page.wait_for_timeout(300)
    assert events == [file.as_uri()]
    assert page.evaluate("document.documentElement.scrollWidth") == size["width"], "the page is wider than the screen"


@pytest.mark.slow
def test_a_request_from_within_is_refused(browser, file):
    page, events = opened(browser, file)
    with pytest.raises(Error, match="Failed to fetch"):
        page.evaluate("fetch('http://127.0.0.1:9/')")
    assert any("Content Security Policy" in event for event in events)
    assert not any(event.startswith("http:") for event in events)


# --- figures ----------------------------------------------------------------------------------------------------------


def tooltip(page: Page) -> str:
    shown = page.locator("#vg-tooltip-element.visible")
    shown.wait_for(timeout=5000)
    return shown.inner_text()


def test_pointing_at_the_depth_shows_every_variant_of_the_nearest_layer(page):
    chart = page.locator("#depth .chart svg")
    chart.hover(position={"x": 700, "y": 150})
    shown = tooltip(page)
    assert all(name in shown for name in NAMES) and "conv4_" in shown and "rounding explains" in shown


def test_pointing_at_a_cell_shows_its_local_error(page):
    chart = page.locator("#local .chart svg")
    box = chart.bounding_box()
    assert box is not None
    for across in np.linspace(0.55, 0.6, 7):  # on a cell, on its dot, and between them
        chart.hover(position={"x": box["width"] * across, "y": 22 * NAMES.index("openvino") + 15})
        shown = tooltip(page)
        assert "openvino" in shown and "bfloat16" in shown and "local error" in shown


def test_pointing_at_a_bar_shows_its_part(page):
    page.locator("#ulp .chart svg .mark-symbol path").nth(3).hover(force=True)
    assert "%" in tooltip(page)


def test_a_checkbox_takes_a_line_away_and_back(page):
    lines = page.locator("#depth .chart svg .mark-line path")
    assert lines.count() == len(NAMES)
    box = page.locator("#depth").get_by_label("numpy")
    box.uncheck()
    expect(lines).to_have_count(len(NAMES) - 1)
    box.check()
    expect(lines).to_have_count(len(NAMES))


def test_the_histogram_is_that_of_the_layer_that_was_chosen(page):
    points = page.locator("#ulp .chart svg .mark-symbol path")
    before = points.count()
    page.locator("#ulp select").select_option("input_layer")
    expect(points).to_have_count(sum(len(row.ulp_histograms["input_layer"]) for row in ran(large_drift())))
    page.locator("#ulp select").select_option("every layer")
    expect(points).to_have_count(before)


# --- tables -----------------------------------------------------------------------------------------------------------


def test_a_click_on_a_heading_sorts_by_numbers_and_a_second_one_the_other_way(page):
    before = column(page, "logits", 5)
    heading = page.locator("#logits th button").nth(5)
    heading.click()
    numbers = [float(text) for text in column(page, "logits", 5) if text]
    assert numbers == sorted(numbers) and column(page, "logits", 5) != before
    assert page.locator("#logits th").nth(5).get_attribute("aria-sort") == "ascending"
    heading.press("Enter")  # as from the keyboard
    texts = column(page, "logits", 5)
    assert [float(text) for text in texts if text] == numbers[::-1]
    assert texts[-2:] == ["", ""], "what has no number stays last"
    assert page.locator("#logits th").nth(5).get_attribute("aria-sort") == "descending"


def test_words_sort_as_words(page):
    page.locator("#logits th button").first.click()
    names = column(page, "logits", 0)
    assert names == sorted(names) and len(names) == len(large_drift().variants)


def test_typing_keeps_the_rows_with_all_the_words(page):
    filter_ = page.locator("[aria-controls=layers]")
    rows = len(column(page, "layers", 0))
    assert rows == len(NAMES) * len(large_drift().layers)
    filter_.fill("")
    filter_.press_sequentially("openvino BFLOAT16 conv3")
    left = list(zip(column(page, "layers", 0), column(page, "layers", 1), strict=True))
    assert 0 < len(left) < rows and {name for name, _ in left} == {"openvino"}
    assert all("conv3" in layer for _, layer in left)
    assert page.locator("#every output").inner_text() == f"{len(left)} of {rows} rows"
    filter_.fill("")
    assert len(column(page, "layers", 0)) == rows


@pytest.mark.parametrize("scheme", [pytest.param("light", marks=pytest.mark.exhaustive), "dark"])
@pytest.mark.slow
def test_axe_finds_nothing_that_keeps_anybody_out(browser, file, scheme):
    """The rules of axe-core, contrast among them; the policy of the page would not let it in."""
    page, _ = opened(browser, file, color_scheme=scheme, bypass_csp=True)
    page.evaluate("[...document.getElementById('layers').tBodies[0].rows].slice(20).forEach((row) => row.remove())")
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def test_figures_are_pictures_with_a_description_to_those_who_do_not_see_them(page):
    figures = page.get_by_role("img", name=re.compile("for each variant|of each variant"))
    expect(figures).to_have_count(3)


def test_every_control_is_reached_by_the_tab_key(page):
    page.locator("nav a").first.focus()
    reached = set()
    for _ in range(80):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("[document.activeElement.tagName, document.activeElement.type].join(' ')"))
    assert {"INPUT checkbox", "SELECT select-one", "INPUT search", "BUTTON button"} <= reached


# --- looks ------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(("scheme", "colours"), [("light", LIGHT), ("dark", DARK)])
def test_the_page_follows_the_scheme_of_the_screen(browser, file, scheme, colours):
    page, _ = opened(browser, file, color_scheme=scheme)
    whole = np.asarray(Image.open(io.BytesIO(page.screenshot(full_page=True))).convert("RGB"))
    assert count(whole, colours["paper"]) > whole.shape[0] * whole.shape[1] / 2
    depth, local = picture_of(page, "#depth .chart"), picture_of(page, "#local .chart")
    assert all(count(depth, colours[name]) > 50 for name in ("a", "b", "c"))
    assert count(local, colours["heat6"]) > 500 and count(local, colours["heat1"]) > 500


@pytest.mark.slow
def test_paper_is_light_and_leaves_the_long_table_out(browser, file):
    page, _ = opened(browser, file, color_scheme="dark")
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).getPropertyValue('--paper')") == LIGHT["paper"]
    assert not page.locator("#every").is_visible() and page.locator("#classes").is_visible()


def test_the_first_screen_says_every_verdict(page):
    text = page.locator("h1").inner_text()
    assert "Mismatch: numpy" in text.replace("\n", " ") and all(name in text for name in NAMES if name != OWN)
    assert FIRST in page.locator("#verdicts").inner_text()


# --- where the drift comes from ---------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_shares_sort_by_numbers_fit_and_keep_nobody_out(browser, tmp_path, size):
    write_html(explained_drift(), tmp_path / "drift.html")
    page, events = opened(browser, tmp_path / "drift.html", viewport=size, color_scheme="dark", bypass_csp=True)
    assert events == [(tmp_path / "drift.html").as_uri()]
    assert page.evaluate("document.documentElement.scrollWidth") == size["width"]
    page.locator("#orders th button").nth(3).click()
    shares = [float(text.removesuffix("%")) for text in column(page, "orders", 3)]
    assert shares == sorted(shares) and shares[0] < 0 and page.locator("#orders").is_visible()
    page.locator("#explained details summary").click()
    page.locator("[aria-controls=shares]").fill("jax bias conv2")
    assert 0 < len(column(page, "shares", 0)) < 248 and set(column(page, "shares", 0)) == {"jax-threads-1"}
    found = Axe().run(page, context="#explained")
    assert found.violations_count == 0, found.generate_report()
