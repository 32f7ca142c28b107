"""Reports as people read them: summaries from templates, the index over all, and pages."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from research_lib.errors import ResearchError, ValidationError
from research_lib.reporting.manifest import DAMAGED, read_json, read_manifest, write_whole
from research_lib.reporting.parameters import Project
from research_lib.wording import count, p_value, percent, residual, significant

if TYPE_CHECKING:
    from nbconvert.filters.markdown_mistune import IPythonRenderer

HEADLINE = "static optimal"
# Sections whose numbers stand in the index's table; of others the answer is quoted.
TABLED = ("modeling", "strategy")
MAX_ROWS_DRAWN = 60  # that the figure of all runs makes room for
SUMMARY = re.compile(r"(?:([A-Za-z0-9_-]+)/)?([a-z]+)_summary\.md")


class RenderError(ResearchError):
    """Results that a template does not fit; names the template and what it misses."""

    def __init__(self, section: str, error: Exception) -> None:
        what = f"{type(error).__name__}: {error}"
        super().__init__(f"{section}_summary.md.j2 does not fit its results: {what}")
        self.section = section


def render(template: str, templates: Path, **values: Any) -> str:
    """Any template of the project's folder, or of the library's where it has none of that name."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader([templates, Path(__file__).with_name("templates")]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # markdown for people, made from our own numbers
    )
    environment.filters.update(
        sig=significant, count=count, percent=percent, residual=residual, p_value=p_value
    )
    return environment.get_template(template).render(**values)


def render_summary(
    section: str, results: Mapping[str, Any], provenance: Mapping[str, Any], templates: Path
) -> str:
    """The report of one section from its template, results.json's numbers and the manifest's.

    Raises
    ------
    RenderError
        The template asks for what the results do not have.
    """
    from jinja2 import TemplateError

    misfits = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
    try:
        return render(f"{section}_summary.md.j2", templates, results=results, manifest=provenance)
    except (TemplateError, *misfits) as error:
        raise RenderError(section, error) from error


def summary(
    section: str, results: Mapping[str, Any], manifest: Mapping[str, Any], templates: Path
) -> str:
    """The text of <section>_summary.md, given results.json and manifest.json."""
    record = manifest["sections"][section]
    provenance = {**record, **record["inputs"], "configuration": manifest["configuration"]}
    return render_summary(section, results[section], provenance, templates)


class Saving(NamedTuple):
    """What a schedule saved against TWAP, per cent, with its 95 % interval or None."""

    percent: float
    low: float | None
    high: float | None


def headline(results: Mapping[str, Any]) -> Saving | None:
    """The saving that a strategy section's results claim; None where there is no claim."""
    row = results.get("strategy", {}).get("strategies", {}).get(HEADLINE, {})
    if row.get("saving_%") is None:
        return None
    return Saving(row["saving_%"], row.get("saving_lower_%"), row.get("saving_upper_%"))


def render_index(project: Project) -> Path:
    """Write reports/README.md, all runs beside each other and what failed, and its figure."""
    names = ("results.json", "failure.json")
    folders = sorted(one for one in project.reports.iterdir() if one.is_dir())
    rows = [_row(one) for one in folders if any((one / name).is_file() for name in names)]
    drawn = _overview([row for row in rows if row["saving"]], project.reports / "overview.png")
    text = render("index.md.j2", project.templates, rows=rows, rates=_rates(rows), figure=drawn)
    target = project.reports / "README.md"
    write_whole(target, text.encode())
    return target


def _rates(rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Counts over runs: all, failed, with a saving, it above 0, its whole interval above 0."""
    savings = [row["saving"] for row in rows if row["saving"]]
    return {
        "runs": len(rows),
        "failed": sum(bool(row["failure"]) for row in rows),
        "compared": len(savings),
        "saved": sum(saving.percent > 0 for saving in savings),
        "surely": sum(saving.low is not None and saving.low > 0 for saving in savings),
    }


def _row(folder: Path) -> dict[str, Any]:
    """What the index says of a run; a damaged file is named and stops nothing."""
    flaws, parts = [], {}
    for name, read in (
        ("results", read_json),
        ("failure", read_json),
        ("manifest", _read_manifest),
    ):
        path = folder / f"{name}.json"
        try:
            parts[name] = read(path) if path.is_file() else {}
        except ValidationError as error:
            flaws.append(str(error))
            parts[name] = {}
    results, failure, manifest = parts["results"], parts["failure"], parts["manifest"]
    if not all(isinstance(part, dict) for part in results.values()):
        flaws.append(f"results.json {DAMAGED}")
        results = {}
    return {
        "name": folder.name,
        "results": results,
        "first": next((part for part in results.values() if "symbol" in part), {}),
        "answers": {
            section: part.get("answer", "")
            for section, part in results.items()
            if section not in TABLED
        },
        "title": (manifest.get("configuration") or failure).get("title", ""),
        "saving": headline(results),
        "failure": failure,
        "flaws": flaws,
        "seconds": sum(one["run"]["seconds"] for one in manifest.get("sections", {}).values()),
    }


def _read_manifest(path: Path) -> dict[str, Any]:
    return read_manifest(path.parent)


def _overview(rows: Sequence[Mapping[str, Any]], path: Path) -> bool:
    """Draw the savings of all runs with their intervals; False where there is none to draw."""
    if not rows:
        path.unlink(missing_ok=True)
        return False
    import matplotlib.pyplot as plt

    from research_lib.reporting.figures.base import new_figure, save_figure
    from research_lib.reporting.figures.strategy import plot_runs

    figure, (ax,) = new_figure(1, height=1.2 + 0.28 * min(len(rows), MAX_ROWS_DRAWN))
    plot_runs({row["name"]: row["saving"] for row in rows}, ax)
    save_figure(figure, path)
    plt.close(figure)
    return True


def write_pages(project: Project) -> Path:
    """Write reports/html/<name>.html of every run and index.html; returns the index.

    Figures are embedded and styles are inside, so that a page can be sent by itself. Wide tables,
    and figures, scroll by themselves on a narrow screen; tables of the index sort by a click on a
    heading.
    """
    pages = project.reports / "html"
    pages.mkdir(exist_ok=True)
    for folder in sorted(one for one in project.reports.iterdir() if one.is_dir() and one != pages):
        files = [f"{section}_summary.md" for section in project.sections] + ["failure.md"]
        parts = [folder / name for name in files if (folder / name).is_file()]
        if parts:
            _write_page(pages / f"{folder.name}.html", parts, project)
    return _write_page(pages / "index.html", [project.reports / "README.md"], project)


def _write_page(target: Path, parts: Sequence[Path], project: Project) -> Path:
    sections = [(path.stem.removesuffix("_summary"), _html(path)) for path in parts]
    first = re.search(r"^# (.*)", parts[0].read_text(encoding="utf-8"), re.MULTILINE)
    title, index = first[1] if first else target.stem, target.stem == "index"
    text = render("page.html.j2", project.templates, sections=sections, title=title, index=index)
    write_whole(target, text.encode())
    return target


def _html(path: Path) -> str:
    from nbconvert.filters.markdown_mistune import MarkdownWithMath

    text = MarkdownWithMath(_renderer(path.parent)).render(path.read_text(encoding="utf-8"))
    opened = text.replace("<table>", '<div class="wide" tabindex="0"><table>')
    return str(opened.replace("</table>", "</table></div>"))


def _renderer(folder: Path) -> IPythonRenderer:
    """nbconvert's, which puts figures into the page; markup in a text stays text."""
    from nbconvert.filters.markdown_mistune import IPythonRenderer

    class Renderer(IPythonRenderer):
        def inline_html(self, html: str) -> str:
            return str(self.text(html))

        def block_html(self, html: str) -> str:
            return f"<p>{self.text(html)}</p>\n"

        def image(self, text: str, url: str, title: str | None = None) -> str:
            """A PNG of the report's folder becomes part of the page; else its text stays."""
            path = (folder / url).resolve()
            inside = path.is_relative_to(folder.resolve()) and path.is_file()
            if path.suffix != ".png" or not inside:
                return str(self.text(text))
            return f'<span class="wide" tabindex="0">{super().image(text, url, title)}</span>'

        def link(self, text: str, url: str, title: str | None = None) -> str:
            """To a summary: to its page. To any other file: from where the pages are."""
            if found := SUMMARY.fullmatch(url):
                return f'<a href="{found[1] or folder.name}.html#{found[2]}">{text}</a>'
            above = "../" if folder.name == "reports" else f"../{folder.name}/"
            return str(super().link(text, url if "://" in url else above + url, title))

    return Renderer(
        escape=True,
        allow_harmful_protocols=False,
        embed_images=True,
        exclude_anchor_links=True,
        path=str(folder),
    )
