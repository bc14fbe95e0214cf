"""The pages in a real browser: silent, renewed where watched; slider, sorting, curves and ticks work. Skipped where there is no Chromium."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sngan.__main__ import main

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed; it comes with the extra dev")

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome", "msedge")

LAPTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A Chromium of the system, or the one that `playwright install chromium` fetched."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    with playwright.sync_playwright() as driver:
        executable = found or driver.chromium.executable_path
        if not Path(executable).exists():
            pytest.skip("there is no Chromium here: apt-get install chromium, or playwright install chromium")
        # its sandbox does not start as root, and these pages are our own
        launched = driver.chromium.launch(executable_path=executable, args=["--no-sandbox"] if os.geteuid() == 0 else [])
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def pages(sweep: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A page about one run, and one about several."""
    folder = tmp_path_factory.mktemp("pages")
    for name, path in (("one", sweep / "loss-hinge" / "seed0"), ("several", sweep)):
        assert main(["report", str(path), f"out={folder / name}.html", "neighbours=3", "device=cpu"]) == 0
    return {name: folder / f"{name}.html" for name in ("one", "several")}


@pytest.fixture
def show(browser: Any, pages: dict[str, Path]) -> Iterator[Any]:
    """`show("one")`: a page that is open; at the end it must have said nothing, asked for nothing and fit its window."""
    opened, said, asked = [], [], []

    def open_page(name: str, *, viewport: dict[str, int] = LAPTOP, scheme: str = "light") -> Any:
        page = browser.new_page(viewport=viewport, color_scheme=scheme)
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(pages[name].as_uri())
        opened.append(page)
        return page

    yield open_page
    for page in opened:
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the page is wider than its window"
        page.close()
    assert said == []
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [LAPTOP, PHONE], ids=["laptop", "phone"])
@pytest.mark.parametrize("name", ["one", "several"])
def test_a_page_loads_whole_and_in_silence(show: Any, name: str, viewport: dict[str, int], scheme: str) -> None:
    page = show(name, viewport=viewport, scheme=scheme)
    assert page.locator("h2").count() >= 5
    broken = "[...document.images].filter((image) => image.complete && !image.naturalWidth && image.checkVisibility()).length"
    assert page.evaluate(broken) == 0
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(255, 255, 255)") == (scheme == "light")


def test_the_slider_goes_through_the_grids(show: Any) -> None:
    page = show("one")
    slider, frames = page.locator(".frames input"), page.locator(".frame")
    assert frames.count() == 3
    assert [frame.is_visible() for frame in frames.all()] == [False, False, True]
    assert page.locator("output").inner_text() == "6"
    slider.press("ArrowLeft")
    assert [frame.is_visible() for frame in frames.all()] == [False, True, False]
    assert page.locator("output").inner_text() == "3"
    slider.fill("0")
    assert [frame.is_visible() for frame in frames.all()] == [True, False, False]
    assert page.locator("output").inner_text() == "0"


def test_a_click_on_a_title_sorts_the_runs_and_another_one_turns_them_round(show: Any) -> None:
    page = show("several")
    table = page.locator("#runs table")
    titles = table.locator("thead th").all_inner_texts()
    column = next(i for i, title in enumerate(titles) if title.startswith("fd_32"))

    def cells() -> list[float]:
        return [float(text.split()[0]) for text in table.locator(f"tbody tr > :nth-child({column + 1})").all_inner_texts()]

    before = cells()
    button = table.locator("thead th").nth(column).locator("button")
    button.click()
    assert cells() == sorted(before)
    assert table.locator("thead th").nth(column).get_attribute("aria-sort") == "ascending"
    button.press("Enter")
    assert cells() == sorted(before, reverse=True)
    table.locator("thead th").first.locator("button").click()
    names = table.locator("tbody th").all_inner_texts()
    assert names == sorted(names)
    assert table.locator("thead th").nth(column).get_attribute("aria-sort") == "none"


def test_the_pointer_reads_the_curves(show: Any) -> None:
    page = show("one")
    chart = page.locator(".chart", has_text="Losses").first
    box = chart.locator("svg").bounding_box()
    assert box
    page.locator("#curves").scroll_into_view_if_needed()
    chart.locator("svg").hover(position={"x": box["width"] * 0.97, "y": 60})
    lines = chart.locator(".reading div").all_inner_texts()
    assert lines[0] == "step 6"
    assert [line.split()[-1] for line in lines[1:]] == ["D_loss", "G_loss"]
    page.locator("h1").hover()
    assert not chart.locator(".reading").is_visible()


def test_a_tick_hides_a_setting_in_every_chart(show: Any) -> None:
    page = show("several")
    curves = page.locator("#curves .charts").first.locator(".curve[data-group='0']")
    assert curves.count() > 4
    assert all(curve.is_visible() for curve in curves.all())
    page.locator("[data-toggles='0']").uncheck()
    assert not any(curve.is_visible() for curve in curves.all())
    assert page.locator(".curve[data-group='1']").first.is_visible()
    page.locator("[data-toggles='0']").check()
    assert all(curve.is_visible() for curve in curves.all())


def test_a_page_that_is_watched_follows_the_run(browser: Any, sweep: Path) -> None:
    run = Path(shutil.copytree(sweep / "loss-hinge" / "seed0", "run"))
    scalars = (run / "scalars.jsonl").read_text().splitlines()
    (run / "result.json").rename("result.json")
    (run / "scalars.jsonl").write_text("\n".join(scalars[:-1]) + "\n")
    words = [sys.executable, "-m", "sngan", "watch", "run", "port=0", "every=1", "neighbours=0", "device=cpu"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        page = browser.new_page()
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(process.stdout.readline().split()[0])
        body = page.locator("body")
        body.get_by_text("unfinished").first.wait_for()

        # nobody touches the page: it asks again itself
        (run / "scalars.jsonl").write_text("\n".join(scalars) + "\n")
        Path("result.json").rename(run / "result.json")
        body.get_by_text("unfinished").first.wait_for(state="detached")
        assert "finished" in body.inner_text()
        assert page.evaluate("[...document.images].filter((image) => image.complete && !image.naturalWidth).length") == 0
        page.close()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert said == []


def test_markup_in_names_and_configs_does_nothing(browser: Any, sweep: Path) -> None:
    evil = "<script>document.title = 'run'</script><img src=x onerror=\"document.title = 'run'\">"
    for i in (0, 1):
        folder = Path(shutil.copytree(sweep / "loss-bce" / f"seed{i}", Path("runs", str(i) + evil.replace("/", "∕"))))
        config = (folder / "config.json").read_text()
        (folder / "config.json").write_text(config.replace('"shapes"', '"' + evil.replace('"', '\\"') + str(i) + '"', 1))
    assert main(["report", "runs", "out=page.html", "device=cpu"]) == 0
    page = browser.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.goto(Path("page.html").absolute().as_uri())
    assert page.title() == "2 runs"
    assert evil + "0" in page.locator("#runs").inner_text()
    assert page.locator("img[src=x]").count() == 0
    assert said == []
    page.close()
