"""Pages in a real browser, at a desk's and at a phone's width: figures load, nothing sticks out, no error is logged."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import websocket
from helpers import LONGEST, Family, wait_until

from research_lib.config import PROJECT_ROOT
from research_lib.reporting import Project, write_pages

pytestmark = pytest.mark.slow
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--remote-debugging-port=0",
)  # fmt: skip
WIDTHS = {"desk": (1280, 900), "phone": (390, 844)}
SEEN = """(() => {
  const width = document.documentElement.clientWidth, images = [...document.images];
  const out = box => box.getBoundingClientRect().right > width + 1;
  const wide = [...document.querySelectorAll(".wide")];
  return JSON.stringify({
    width, page: document.documentElement.scrollWidth, images: images.length,
    broken: images.filter(image => !(image.complete && image.naturalWidth > 0)).length,
    sticking: [...document.querySelectorAll("body *")].filter(e => !e.closest(".wide, pre") && out(e)).length,
    boxes: wide.length, outside: wide.filter(out).length,
    smallest: Math.min(...[...document.querySelectorAll("td")].map(e => parseFloat(getComputedStyle(e).fontSize))),
  });
})()"""
SORTED = """(() => {
  const table = document.querySelector("table"), cells = () => [...table.tBodies[0].rows].map(
    row => row.cells[4].textContent.trim());
  const column = table.querySelectorAll("th button")[4];
  column.click();
  const rising = cells();
  column.click();
  return JSON.stringify([rising, cells()]);
})()"""


class Browser:
    """One tab, driven over the DevTools protocol."""

    def __init__(self, program: str, profile: Path, family: Family) -> None:
        process = family.start(
            [program, *QUIET, f"--user-data-dir={profile}"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        port = profile / "DevToolsActivePort"

        def is_up() -> bool:
            return process.poll() is not None or (
                port.is_file() and port.read_text().count("\n") > 0
            )

        wait_until(is_up, "the browser")
        assert process.poll() is None, f"{program} ended with {process.returncode}"
        address = f"http://127.0.0.1:{port.read_text().split()[0]}/json/new?about:blank"
        with urllib.request.urlopen(urllib.request.Request(address, method="PUT")) as reply:
            tab = json.load(reply)["webSocketDebuggerUrl"]
        self.socket = websocket.create_connection(tab, timeout=LONGEST, suppress_origin=True)
        self.numbers, self.told = itertools.count(1), list[dict[str, Any]]()
        for domain in ("Page", "Runtime", "Log"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """What a command answers; events that come before are kept in `told`."""
        number = next(self.numbers)
        self.socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while (message := json.loads(self.socket.recv())).get("id") != number:
            self.told.append(message)
        assert "error" not in message, message
        return dict(message["result"])

    def see(self, page: Path, width: int, height: int) -> dict[str, Any]:
        """Open a page at a width and measure it."""
        self.told.clear()
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.ask("Emulation.setDeviceMetricsOverride", **size)
        self.ask("Page.navigate", url=page.as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self.told):
            self.told.append(json.loads(self.socket.recv()))
        return dict(self.run(SEEN))

    def run(self, script: str) -> Any:
        return json.loads(self.ask("Runtime.evaluate", expression=script)["result"]["value"])

    @property
    def errors(self) -> list[str]:
        """What the console shows: exceptions, log entries and messages of any kind."""
        kinds = ("Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled")
        return [json.dumps(event["params"]) for event in self.told if event.get("method") in kinds]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip(f"none of {', '.join(BROWSERS)} is installed")
    family = Family()
    try:
        opened = Browser(program, tmp_path_factory.mktemp("profile"), family)
        yield opened
        opened.socket.close()
    finally:
        family.end()


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of all committed reports."""
    reports = tmp_path_factory.mktemp("committed") / "reports"
    shutil.copytree(
        PROJECT_ROOT / "reports", reports, ignore=shutil.ignore_patterns("html", ".work")
    )
    return write_pages(replace(Project(), reports=reports)).parent


@pytest.mark.parametrize("width", WIDTHS)
def test_every_page_loads_its_figures_fits_its_screen_and_logs_nothing(
    browser: Browser, pages: Path, width: str
) -> None:
    wide, high = WIDTHS[width]
    for page in sorted(pages.glob("*.html")):
        seen = browser.see(page, wide, high)
        assert seen["width"] in (wide, wide - 15), (page.name, seen)  # a desk's scroll bar takes 15
        assert seen["images"] >= 1, page.name
        assert (seen["broken"], seen["sticking"], seen["outside"]) == (0, 0, 0), (page.name, seen)
        assert seen["page"] <= seen["width"], (page.name, seen)
        assert seen["boxes"] > seen["images"], (page.name, seen)
        assert seen["smallest"] >= 12, (page.name, seen)
        assert browser.errors == [], page.name


def test_the_index_sorts_by_a_click(browser: Browser, pages: Path) -> None:
    browser.see(pages / "index.html", *WIDTHS["desk"])
    rising, falling = browser.run(SORTED)
    assert rising == sorted(rising, key=str.lower) != falling
    assert sorted(falling, key=str.lower, reverse=True) == falling


def test_what_is_wrong_with_a_page_is_seen(browser: Browser, pages: Path, tmp_path: Path) -> None:
    text = (pages / "default.html").read_text()
    spoilt = tmp_path / "spoilt.html"
    spoilt.write_text(
        text.replace('src="data:image/png;base64,iVBOR', 'src="data:image/png;base64,AAAA', 1)
    )
    assert browser.see(spoilt, *WIDTHS["phone"])["broken"] == 1
    spoilt.write_text(text.replace('<div class="wide" tabindex="0"><table>', "<div><table>"))
    seen = browser.see(spoilt, *WIDTHS["phone"])
    assert seen["sticking"] > 0
    assert seen["page"] > seen["width"]
    spoilt.write_text(text.replace("</main>", "</main><script>nothing.here()</script>"))
    browser.see(spoilt, *WIDTHS["phone"])
    assert any("ReferenceError" in error for error in browser.errors)
