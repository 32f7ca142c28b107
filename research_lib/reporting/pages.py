"""Reports as pages: one self-contained HTML file a run, and an index."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

from research_lib.reporting.markdown import render
from research_lib.reporting.parameters import Project

SUMMARY = re.compile(r"(?:([A-Za-z0-9_-]+)/)?([a-z]+)_summary\.md")


class _Renderer(IPythonRenderer):
    """nbconvert's, which puts figures into the page; links to summaries lead to pages, markup in a text is text."""

    def __init__(self, folder: Path) -> None:
        super().__init__(
            escape=True,
            allow_harmful_protocols=False,
            embed_images=True,
            exclude_anchor_links=True,
            path=str(folder),
        )
        self.folder = folder

    def inline_html(self, html: str) -> str:
        return str(self.text(html))

    def block_html(self, html: str) -> str:
        return f"<p>{self.text(html)}</p>\n"

    def image(self, text: str, url: str, title: str | None = None) -> str:
        """A PNG of the report's folder becomes part of the page; of anything else its text stays."""
        path = (self.folder / url).resolve()
        if (
            path.suffix != ".png"
            or not path.is_relative_to(self.folder.resolve())
            or not path.is_file()
        ):
            return str(self.text(text))
        return f'<span class="wide" tabindex="0">{super().image(text, url, title)}</span>'

    def link(self, text: str, url: str, title: str | None = None) -> str:
        """To a summary: to its page. To any other file: from where the pages are."""
        found = SUMMARY.fullmatch(url)
        if found:
            return f'<a href="{found[1] or self.folder.name}.html#{found[2]}">{text}</a>'
        inside = (
            ""
            if found or "://" in url
            else "../"
            if self.folder.name == "reports"
            else f"../{self.folder.name}/"
        )
        return str(super().link(text, inside + url, title))


def write_pages(project: Project) -> Path:
    """Write reports/html/<name>.html of every run and index.html; returns the index.

    Figures are embedded and styles are inside, so that a page can be sent by itself. Wide tables, and
    figures, scroll by themselves on a narrow screen; tables of the index sort by a click on a heading.
    """
    pages = project.reports / "html"
    pages.mkdir(exist_ok=True)
    folders = [
        path for path in sorted(project.reports.iterdir()) if path.is_dir() and path != pages
    ]
    for folder in folders:
        files = [folder / f"{section}_summary.md" for section in project.sections] + [
            folder / "failure.md"
        ]
        parts = [path for path in files if path.is_file()]
        if parts:
            _write(pages / f"{folder.name}.html", parts, project)
    return _write(pages / "index.html", [project.reports / "README.md"], project)


def _write(target: Path, parts: Sequence[Path], project: Project) -> Path:
    sections = [(path.stem.removesuffix("_summary"), _html(path)) for path in parts]
    first = re.search(r"^# (.*)", parts[0].read_text(encoding="utf-8"), re.MULTILINE)
    values: dict[str, Any] = {
        "title": first[1] if first else target.stem,
        "index": target.stem == "index",
    }
    text = render("page.html.j2", project.templates, sections=sections, **values)
    part = target.with_name(f".{target.name}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(target)
    return target


def _html(path: Path) -> str:
    text = MarkdownWithMath(_Renderer(path.parent)).render(path.read_text(encoding="utf-8"))
    return text.replace("<table>", '<div class="wide" tabindex="0"><table>').replace(
        "</table>", "</table></div>"
    )
