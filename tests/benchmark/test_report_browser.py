"""The report in a real browser: charts are drawn, tables sort, a phone can hold it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.benchmark.pages import HOSTILE, benchmark
from tsdiff.benchmark.report import write_report

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
KINDS = ("differences", "fans", "calibration", "costs")


def _program(names: tuple[str, ...]) -> str | None:
    return next((found for name in names if (found := shutil.which(name))), None)


@pytest.fixture(scope="module")
def browser():
    """Headless Chromium on the page of some records."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    program, driver = _program(BROWSERS), shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip("no chromium with its chromedriver on the PATH: the page is not opened")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    # A container has neither a sandbox of its own nor much shared memory.
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    os.environ["SE_OFFLINE"] = "true"  # look for no driver elsewhere
    session = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield session
    session.quit()


@pytest.fixture(scope="module")
def address(tmp_path_factory) -> str:
    path: Path = tmp_path_factory.mktemp("report") / "report.html"
    return write_report(benchmark(), path, title=f"Report {HOSTILE}").as_uri()


@pytest.fixture
def page(browser, address):
    """The page, opened anew on a wide screen with light colours."""
    resize(browser, 1280, 900)
    media(browser, "light")
    browser.get(address)
    browser.execute_script("localStorage.clear()")
    browser.refresh()
    settle(browser)
    yield browser
    errors = [entry for entry in browser.get_log("browser") if entry["level"] != "INFO"]
    assert errors == []


def resize(browser, width: int, height: int) -> None:
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def media(browser, theme: str, kind: str = "") -> None:
    features = [{"name": "prefers-color-scheme", "value": theme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": kind, "features": features})


def settle(browser) -> None:
    """Until the page is drawn, and drawn again after a change of its size."""
    browser.execute_async_script(
        "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(() => "
        "setTimeout(done, 50)))"
    )
    assert browser.execute_script("return document.documentElement.className") == "drawn"


def ask(browser, expression: str, *arguments):
    return browser.execute_script(f"return {expression}", *arguments)


def test_nothing_is_loaded_and_no_name_runs(page):
    assert ask(page, "performance.getEntriesByType('resource').length") == 0
    assert ask(page, "window.hacked === undefined")
    assert page.title.startswith("Report </script>")


@pytest.mark.parametrize("kind", KINDS)
def test_charts_are_drawn(page, kind):
    sizes = ask(
        page,
        """[...document.querySelectorAll(`[data-chart=${arguments[0]}]`)].map((figure) =>
            [...figure.querySelectorAll(".plot svg")].map((drawing) => {
                const marks = drawing.querySelectorAll("path, rect, circle");
                const box = drawing.getBoundingClientRect();
                return [box.width, box.height, marks.length, drawing.ariaLabel.length];
            }))""",
        kind,
    )
    assert len(sizes) == 2  # data sets
    for drawings in sizes:
        assert len(drawings) == {"fans": 2, "calibration": 6}.get(kind, 1)
        for width, height, marks, said in drawings:
            assert width > 200
            assert height > 100
            assert marks >= 5
            assert said > 20
    assert not ask(page, r"/NaN|undefined/.test(document.querySelector('main').innerHTML)")


def test_tables_sort_both_ways(page):
    table = "document.querySelectorAll('[data-choose-columns] table')[0]"
    column = ask(page, f"[...{table}.tHead.rows[0].cells].findIndex(c => c.innerText == 'CRPS')")

    def values() -> list[float]:
        found = f"[...{table}.tBodies[0].rows].map(r => Number(r.cells[{column}].dataset.value))"
        return ask(page, found)

    for direction, expected in (("ascending", False), ("descending", True)):
        page.execute_script(f"{table}.tHead.rows[0].cells[{column}].firstChild.click()")
        assert values() == sorted(values(), reverse=expected)
        assert len(set(values())) == 6
        sorts = ask(page, f"[...{table}.tHead.rows[0].cells].map(c => c.ariaSort)")
        assert [s for s in sorts if s != "none"] == [direction] == [sorts[column]]
    page.execute_script(f"{table}.tHead.rows[0].cells[0].firstChild.click()")
    names = ask(page, f"[...{table}.tBodies[0].rows].map(r => r.cells[0].innerText)")
    assert names[-1].startswith("VSDM")


def test_missing_values_sort_to_the_end(page):
    table = "document.querySelectorAll('[data-choose-columns] table')[0]"
    column = ask(page, f"[...{table}.tHead.rows[0].cells].findIndex(c => c.innerText == 'NLL')")
    for _ in range(2):
        page.execute_script(f"{table}.tHead.rows[0].cells[{column}].firstChild.click()")
        cells = ask(page, f"[...{table}.tBodies[0].rows].map(r => r.cells[{column}].innerText)")
        assert cells[-1] == "–"
        assert "–" not in cells[:-1]


def test_columns_and_errors_can_be_chosen(page):
    shown = "[...document.querySelectorAll('[data-choose-columns] thead')[0].rows[0].cells]" + (
        ".filter(c => c.offsetWidth > 0).map(c => c.innerText)"
    )
    assert "NRMSE" not in ask(page, shown)
    click = """[...document.querySelectorAll("[data-choose-columns] label")]
        .find((label) => label.textContent === arguments[0]).click()"""
    page.execute_script(click, "NRMSE")
    assert "NRMSE" in ask(page, shown)
    sampling = "[...document.querySelectorAll('.sampling')].some(e => e.offsetWidth > 0)"
    assert not ask(page, sampling)
    page.execute_script(click, "Monte-Carlo errors")
    assert ask(page, sampling)


def test_fans_can_be_chosen_and_read_by_keys(page):
    figure = "document.querySelector('[data-chart=fans]')"
    panels = f"[...{figure}.querySelectorAll('.panel-title')].map(p => p.innerText)"
    assert [title.split(" from")[0] for title in ask(page, panels)] == ["Window 1", "Window 4"]
    for side, count in (("methods", 6), ("series", 3)):
        page.execute_script(f"{figure}.querySelector('[value={side}]').click()")
        settle(page)
        assert len(ask(page, panels)) == count
    assert ask(page, panels)[1].startswith("north <1>")
    page.execute_script(
        f"""const chart = {figure}.querySelector(".plot svg"); chart.focus();
        chart.dispatchEvent(new KeyboardEvent("keydown", {{ key: "ArrowLeft", bubbles: true }}))"""
    )
    read = ask(page, panels)[0]
    assert "80 %:" in read
    assert "11 Mar 2024" in read  # the last of eight steps from 4 March


def test_labels_do_not_overlap(page):
    for width in (1280, 390):
        resize(page, width, 900)
        settle(page)
        hits = ask(
            page,
            """["costs", "differences"].flatMap((kind) =>
                [...document.querySelectorAll(`[data-chart=${kind}] svg`)].flatMap((drawing) => {
                    const texts = [...drawing.querySelectorAll("text")];
                    const boxes = texts.map((text) => text.getBoundingClientRect());
                    return boxes.flatMap((a, i) => boxes.slice(i + 1).flatMap((b, j) =>
                        a.left < b.right - 1 && b.left < a.right - 1 &&
                        a.top < b.bottom - 3 && b.top < a.bottom - 3
                            ? [[texts[i].textContent, texts[i + 1 + j].textContent]] : []));
                }))""",
        )
        assert hits == []


def test_colours_change_and_are_remembered(page):
    paper = "getComputedStyle(document.body).backgroundColor"
    text = "getComputedStyle(document.querySelector('svg text')).fill"
    light = ask(page, paper), ask(page, text)
    page.execute_script("document.getElementById('theme').click()")
    dark = ask(page, paper), ask(page, text)
    assert light[0] != dark[0]
    assert light[1] != dark[1]
    page.refresh()
    settle(page)
    assert (ask(page, paper), ask(page, text)) == dark
    page.execute_script("localStorage.clear()")
    page.refresh()
    assert ask(page, paper) == light[0]
    media(page, "dark")  # what the system has
    assert ask(page, paper) == dark[0]


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_nothing_is_wider_than_the_screen(page, width):
    resize(page, width, 844)
    settle(page)
    assert ask(page, "document.documentElement.scrollWidth") <= width
    boxes = ask(
        page, "[...document.querySelectorAll('.scroll')].map(b => [b.offsetWidth, b.scrollWidth])"
    )
    assert all(box <= width for box, _ in boxes)
    if width == 390:
        assert any(content > box for box, content in boxes)  # wide tables scroll in their box
    drawings = ask(
        page,
        "[...document.querySelectorAll('.plot svg')].map(d => d.getBoundingClientRect().right)",
    )
    assert max(drawings) <= width


def test_paper_gets_no_buttons(page):
    media(page, "dark", "print")
    seen = "[...document.querySelectorAll('.bar, .controls')].some(e => e.offsetHeight > 0)"
    assert not ask(page, seen)
    assert ask(page, "getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
