"""Reports as people read them: summaries from templates, the index over all, and pages."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from research_lib.errors import ResearchError, ValidationError
from research_lib.reporting.manifest import read_json, read_manifest, write_whole
from research_lib.reporting.parameters import Project
from research_lib.wording import p_value, residual, significant

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

    loader = FileSystemLoader([templates, Path(__file__).with_name("templates")])
    how: Any = {"trim_blocks": True, "lstrip_blocks": True, "keep_trailing_newline": True}
    environment = Environment(loader=loader, undefined=StrictUndefined, **how)
    environment.filters |= {"sig": significant, "p_value": p_value, "residual": residual}
    environment.filters |= {"count": "{:,d}".format, "percent": "{:.1f}".format}
    return environment.get_template(template).render(**values)


def summary(
    section: str, results: Mapping[str, Any], manifest: Mapping[str, Any], templates: Path
) -> str:
    """The text of <section>_summary.md: its template, given results.json and manifest.json.

    Raises
    ------
    RenderError
        The template asks for what the results do not have.
    """
    from jinja2 import TemplateError

    misfits = (TemplateError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
    record = manifest["sections"][section]
    provenance = record | record["inputs"] | {"configuration": manifest["configuration"]}
    values = {"results": results[section], "manifest": provenance}
    try:
        return render(f"{section}_summary.md.j2", templates, **values)
    except misfits as error:
        raise RenderError(section, error) from error


def render_index(project: Project) -> Path:
    """Write reports/README.md, all runs beside each other and what failed, and its figure."""
    found = [*project.reports.glob("*/results.json"), *project.reports.glob("*/failure.json")]
    rows = [_row(folder) for folder in sorted({path.parent for path in found})]
    savings = {row["name"]: row["saving"] for row in rows if row["saving"]}
    rates = {
        "runs": len(rows),
        "failed": sum(bool(row["failure"]) for row in rows),
        "compared": len(savings),
        "saved": sum(percent > 0 for percent, _, _ in savings.values()),
        "surely": sum((low or 0.0) > 0 for _, low, _ in savings.values()),
    }
    drawn = _overview(savings, project.reports / "overview.png")
    text = render("index.md.j2", project.templates, rows=rows, rates=rates, figure=drawn)
    write_whole(project.reports / "README.md", text.encode())
    return project.reports / "README.md"


def _row(folder: Path) -> dict[str, Any]:
    """What the index says of a run; a damaged file is named and stops nothing."""
    results, failure, manifest, flaws = dict[str, Any](), dict[str, Any](), dict[str, Any](), []
    for into, name in ((results, "results"), (failure, "failure"), (manifest, "manifest")):
        path = folder / f"{name}.json"
        try:
            if path.is_file():
                into |= read_manifest(folder) if name == "manifest" else read_json(path)
        except ValidationError as error:
            flaws.append(str(error))
    # What the index quotes: per cent, and the ends of its 95 % interval or None.
    claimed = results.get("strategy", {}).get("strategies", {}).get("static optimal", {})
    saving = tuple(claimed.get(f"saving{end}_%") for end in ("", "_lower", "_upper"))
    # The table has numbers of the other two.
    quoted = [name for name in results if name not in ("modeling", "strategy")]
    return {
        "name": folder.name,
        "results": results,
        "first": next((part for part in results.values() if "symbol" in part), {}),
        "answers": {name: results[name].get("answer", "") for name in quoted},
        "saving": None if saving[0] is None else saving,
        "failure": failure,
        "flaws": flaws,
        "seconds": sum(one["run"]["seconds"] for one in manifest.get("sections", {}).values()),
    }


def _overview(savings: Mapping[str, Any], path: Path) -> bool:
    """Draw the savings of all runs with their intervals; False where there is none to draw."""
    if not savings:
        path.unlink(missing_ok=True)
        return False
    import matplotlib.pyplot as plt

    from research_lib.reporting.figures.base import new_figure, save_figure
    from research_lib.reporting.figures.strategy import plot_runs

    figure, (ax,) = new_figure(1, height=1.2 + 0.28 * min(len(savings), MAX_ROWS_DRAWN))
    plot_runs(savings, ax)
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
    names = [*(f"{section}_summary.md" for section in project.sections), "failure.md"]
    for folder in sorted(one for one in project.reports.iterdir() if one.is_dir()):
        if parts := [folder / name for name in names if (folder / name).is_file()]:
            _write_page(pages / f"{folder.name}.html", parts, project)
    return _write_page(pages / "index.html", [project.reports / "README.md"], project)


def _write_page(target: Path, parts: Sequence[Path], project: Project) -> Path:
    sections = [(path.stem.removesuffix("_summary"), _html(path)) for path in parts]
    first = parts[0].read_text(encoding="utf-8").split("\n")[0].removeprefix("# ")
    values = {"title": first or target.stem, "index": target.stem == "index"}
    text = render("page.html.j2", project.templates, sections=sections, **values)
    write_whole(target, text.encode())
    return target


def _html(path: Path) -> str:
    from nbconvert.filters.markdown_mistune import MarkdownWithMath

    text = MarkdownWithMath(_renderer(path.parent)).render(path.read_text(encoding="utf-8"))
    opened = text.replace("<table>", '<div class="wide" tabindex="0"><table>')
    return str(opened.replace("</table>", "</table></div>"))


def _renderer(folder: Path) -> Any:
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
            if path.suffix != ".png" or folder.resolve() not in path.parents or not path.is_file():
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
        path=str(folder),
        exclude_anchor_links=True,
    )
