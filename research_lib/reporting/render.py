"""Texts around the notebooks: what a run adds to a page, notes of failures, and the index."""

from pathlib import Path
from typing import Any

import pandas as pd

from research_lib.config import Json
from research_lib.errors import ValidationError
from research_lib.evaluation import holm
from research_lib.reporting.manifest import DAMAGED, read_json, read_manifest, write_whole
from research_lib.reporting.pages import PageError
from research_lib.reporting.parameters import Project
from research_lib.wording import p_value, significant

FORECAST_COLUMNS = [
    "spread_%",
    "depth_%",
    "volume_%",
    "volatility_%",
    "cost_bps",
    "without selection_bps",
]
# What the index quotes, of every section and of those that have a table.
QUOTED = {
    "": "answer symbol synthetic",
    "modeling": "",
    "strategy": "total_shares n_sessions benchmark_bps difference_bps lower_bps upper_bps",
    "robustness": "verdict lowest_bps highest_bps draws_mean_bps draws_error_bps dispersion "
    "predicted_percent static_small_percent static_total_percent adaptive_small_percent "
    "adaptive_total_percent",
}


def render(template: str, **values: Any) -> str:
    """One of the library's templates, filled."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined, TemplateError

    loader = FileSystemLoader(Path(__file__).with_name("templates"))
    how: Any = {"trim_blocks": True, "lstrip_blocks": True, "keep_trailing_newline": True}
    environment = Environment(loader=loader, undefined=StrictUndefined, **how)
    environment.filters |= {"sig": significant, "p_value": p_value}
    environment.filters |= {"count": "{:,.10g}".format, "percent": "{:.1f}".format}
    try:
        return environment.get_template(template).render(**values)
    except TemplateError as error:
        raise PageError(f"{template} does not fit its run: {error}") from error


def around(section: str, results: Json, manifest: Json) -> list[str]:
    """What stands below a page's title and at its end.

    The run, its other sections and what they say of it; how to rerun it, and where it came from.
    """
    record = manifest["sections"][section]
    values = {"manifest": manifest, "own": manifest["configuration"], "record": record}
    values |= {"others": [one for one in results if one != section], "inputs": record["inputs"]}
    values |= {"section": section, "results": results}
    return [render(f"{place}.md.j2", **values).strip() for place in ("above", "below")]


def render_index(project: Project) -> Path:
    """Write reports/README.md: all runs beside each other, and what failed."""
    paths = [*project.reports.glob("*/results.json"), *project.reports.glob("*/failure.json")]
    rows = [_row(folder) for folder in sorted({path.parent for path in paths})]
    given = {row["name"]: row["strategy"].get("p_value") for row in rows}
    adjusted = holm(pd.Series(given, dtype=float).dropna())
    for row in rows:
        row["p_holm"] = adjusted.get(row["name"])
    real = [row for row in rows if row["strategy"] and row["robustness"] and not row["synthetic"]]
    if real:
        write_whole(project.reports / "differences.png", _differences(real))
    index = project.reports / "README.md"
    write_whole(index, render("index.md.j2", rows=rows).encode())
    return index


def _differences(rows: list[dict[str, Any]]) -> bytes:
    """The difference of each run with its interval or, below 20 sessions, range over choices."""
    import matplotlib.pyplot as plt

    from research_lib.reporting.figures.base import figure_bytes, plot_intervals

    table = {}
    for row in rows:
        own, robust, n = row["strategy"], row["robustness"], row["strategy"]["n_sessions"]
        ends, kind = (own["lower_bps"], own["upper_bps"]), "95 % interval"
        if ends[0] is None:
            ends, kind = (robust["lowest_bps"], robust["highest_bps"]), "range over choices"
        table[f"{row['name']}, {n} session{'s' * (n > 1)}: {kind}"] = (own["difference_bps"], *ends)
    shown = pd.DataFrame(table, ["difference_bps", "lower_bps", "upper_bps"]).T
    figure, ax = plt.subplots(figsize=(9.0, 0.32 * len(shown) + 0.9), layout="constrained")
    plot_intervals(shown, "adaptive less benchmark (bps of arrival)", ax)
    plt.close(figure)
    return figure_bytes(figure)


def _row(folder: Path) -> dict[str, Any]:
    """What the index says of a run; a damaged file is named and stops nothing."""
    row: dict[str, Any] = {"name": folder.name, "flaws": []}
    row |= {"results": {}, "failure": {}, "manifest": {}}
    for name in ("results", "failure", "manifest"):
        if (path := folder / f"{name}.json").is_file():
            try:
                row[name] = read_manifest(folder) if name == "manifest" else read_json(path)
            except ValidationError as error:
                row["flaws"].append(str(error))
    given = {}
    for section, part in row["results"].items():
        known = set(part) if isinstance(part, dict) else set()
        if lacking := {*QUOTED[""].split(), *QUOTED.get(section, "").split()} - known:
            row["flaws"].append(f"results.json {DAMAGED} ({section} lacks {min(lacking)})")
        else:
            given[section] = part
    row["synthetic"] = any(part["synthetic"] for part in given.values())
    for section in filter(None, QUOTED):
        row[section] = given.pop(section, {})
    row["forecasts"] = _forecasts(folder / "tables" / "forecast_main.csv")
    return row | {"answers": {section: part["answer"] for section, part in given.items()}}


def _forecasts(path: Path) -> dict[str, list[str]]:
    """Cells of the index by forecast, of the run's main table of forecasts; none if it has none."""
    if not path.is_file():
        return {}
    table = pd.read_csv(path, index_col=0, dtype=str).reindex(columns=FORECAST_COLUMNS).fillna("")
    return {str(name): list(cells) for name, *cells in table.itertuples()}
