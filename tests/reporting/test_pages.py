"""Pages: self-contained, narrow-screen tables, and nothing in a text becomes markup."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from research_lib.config import PROJECT_ROOT
from research_lib.reporting import Project, plot_runs, render_index, write_pages


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Those of the committed default report, which has tables, figures and notes of every kind."""
    import shutil

    reports = tmp_path_factory.mktemp("pages") / "reports"
    shutil.copytree(PROJECT_ROOT / "reports" / "default", reports / "default")
    row = "| <script>alert(1)</script> [s](default/strategy_summary.md) | 1 |"
    (reports / "README.md").write_text(f"# Reports\n\n| run | saving |\n|---|---:|\n{row}\n")
    return write_pages(replace(Project(), reports=reports)).parent


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None], list[str]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs), list(self.open)))
        if tag not in ("meta", "link", "img", "br", "hr"):
            self.open.append(tag)

    handle_startendtag = handle_starttag

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def _tags(page: Path) -> list[tuple[str, dict[str, str | None], list[str]]]:
    parser = _Tags()
    parser.feed(page.read_text())
    assert parser.open == []
    return parser.seen


def test_a_page_holds_all_it_needs(pages: Path) -> None:
    text = (pages / "default.html").read_text()
    tags = _tags(pages / "default.html")
    images = [attributes["src"] for tag, attributes, _ in tags if tag == "img"]
    summaries = [
        (PROJECT_ROOT / "reports" / "default" / f"{one}_summary.md").read_text()
        for one in ("modeling", "strategy")
    ]
    assert (
        len(images)
        == sum(len(re.findall(r"!\[[^]]*\]\(figures/", summary)) for summary in summaries)
        >= 4
    )
    assert all(str(source).startswith("data:image/png;base64,iVBOR") for source in images)
    assert not [
        tag
        for tag, attributes, _ in tags
        if tag == "script" or (tag == "link" and attributes["href"] != "data:,")
    ]
    assert "](" not in text


def test_wide_tables_scroll_inside_the_page(pages: Path) -> None:
    """What a narrow screen needs: the device's own width, and each table in a box that scrolls."""
    text = (pages / "default.html").read_text()
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in text
    assert ".wide { display: block; overflow-x: auto; }" in text
    assert "img { max-width: 100%" in text
    assert text.count('<div class="wide" tabindex="0"><table>') == text.count("<table>") >= 5


def test_links_between_summaries_lead_to_pages_and_markup_stays_text(pages: Path) -> None:
    text = (pages / "index.html").read_text()
    assert '<a href="default.html#strategy">s</a>' in text
    assert "<script>alert(1)" not in text
    assert "&lt;script&gt;alert(1)" in text


@pytest.mark.slow
def test_the_index_of_thousands_of_runs_has_a_figure_of_bounded_height(tmp_path: Path) -> None:
    """Every run has its point and interval; beyond 60 they have no names, which nobody could read."""
    from matplotlib.image import imread

    heights = {}
    for n in (3, 60, 3_000):
        for i in range(n):
            saving = {
                "saving_%": i % 7 - 2.0,
                "saving_lower_%": i % 7 - 3.0,
                "saving_upper_%": i % 7 - 1.0,
            }
            (tmp_path / f"{i:04}").mkdir(exist_ok=True)
            results = {"strategy": {"strategies": {"static optimal": saving}}}
            (tmp_path / f"{i:04}" / "results.json").write_text(json.dumps(results))
        render_index(replace(Project(), reports=tmp_path))
        heights[n] = imread(tmp_path / "overview.png").shape[0]
    assert heights[3] < heights[60] == heights[3_000]
    savings = {f"{i}": (float(i), i - 1.0, i + 1.0) for i in range(100)} | {
        "none": (5.0, None, None)
    }
    ax = plot_runs(savings)
    assert [len(line.get_xdata()) for line in ax.lines[:2]] == [100, 1]
    assert [*ax.get_yticklabels()] == []
    assert ax.get_ylabel() == "101 runs, by their saving"
