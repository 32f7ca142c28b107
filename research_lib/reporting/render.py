"""Reports as people read them: summaries from templates, and the index over all."""

from pathlib import Path
from typing import Any

from research_lib.config import Json
from research_lib.errors import ResearchError, ValidationError
from research_lib.reporting.manifest import read_json, read_manifest, write_whole
from research_lib.reporting.parameters import Project
from research_lib.wording import p_value, residual, significant


class RenderError(ResearchError):
    """Results that a template does not fit; names the template and what it misses."""


def render(template: str, templates: Path, **values: Any) -> str:
    """Any template of the project's folder, or of the library's where it has none of that name."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader([templates, Path(__file__).with_name("templates")])
    how: Any = {"trim_blocks": True, "lstrip_blocks": True, "keep_trailing_newline": True}
    environment = Environment(loader=loader, undefined=StrictUndefined, **how)
    environment.filters |= {"sig": significant, "p_value": p_value, "residual": residual}
    environment.filters |= {"count": "{:,d}".format, "percent": "{:.1f}".format}
    return environment.get_template(template).render(**values)


def summary(section: str, results: Json, manifest: Json, templates: Path) -> str:
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
        what = f"does not fit its results: {type(error).__name__}: {error}"
        raise RenderError(f"{section}_summary.md.j2 {what}") from error


def render_index(project: Project) -> Path:
    """Write reports/README.md: all runs beside each other, and what failed."""
    paths = [*project.reports.glob("*/results.json"), *project.reports.glob("*/failure.json")]
    rows = [_row(folder) for folder in sorted({path.parent for path in paths})]
    index = project.reports / "README.md"
    write_whole(index, render("index.md.j2", project.templates, rows=rows).encode())
    return index


def _row(folder: Path) -> dict[str, Any]:
    """What the index says of a run; a damaged file is named and stops nothing."""
    row: dict[str, Any] = {"name": folder.name, "flaws": []}
    for name in ("results", "failure", "manifest"):
        row[name] = {}
        try:
            if (path := folder / f"{name}.json").is_file():
                row[name] = read_manifest(folder) if name == "manifest" else read_json(path)
        except ValidationError as error:
            row["flaws"].append(str(error))
    results = row["results"]
    # What the index quotes: bps, and the ends of its 95 % interval or None.
    claimed = results.get("strategy", {}).get("strategies", {}).get("adaptive", {})
    difference = [claimed.get(f"{of}_bps") for of in ("difference", "lower", "upper")]
    # The table has numbers of the other two.
    others = {name: part for name, part in results.items() if name not in ("modeling", "strategy")}
    answers = {name: part.get("answer", "") for name, part in others.items()}
    return row | {"difference": None if difference[0] is None else difference, "answers": answers}
