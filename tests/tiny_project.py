"""A project of one notebook that takes no time, for what is said of many runs."""

from __future__ import annotations

import base64
import os
import sys
from pathlib import Path
from typing import Any

import nbformat
import yaml

from research_lib.reporting.grids import load_grid
from research_lib.reporting.parameters import Project
from research_lib.reporting.runner import Options, run_reports

PARAMETERS = """total_shares = 100.0  # shares
seed = 7  # of the draws
side = "buy"  # or "sell"
model_type = "linear"  # form
data_file_name = ""  # file below RESEARCH_DATA
mode = ""  # "fail", "hang", "hang on seed 2", "hoard", "quote" or "silent": what goes wrong
pause = 0.0  # seconds before the results
output_dir = ""  # folder"""
DOT = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
STORY = f"""import json, os, random, time
time.sleep(pause)
if mode in ("hang", f"hang on seed {{seed}}"):
    time.sleep(600)
if mode == "hoard":
    kept = [bytearray(os.urandom(1)) * 20_000_000 for _ in range(100) if time.sleep(0.02) is None]
if mode == "die":
    os._exit(3)
assert mode != "fail", "it was told to"
if data_file_name:
    content = open(os.path.join(os.environ["RESEARCH_DATA"], data_file_name)).read()
    total_shares += len(content)
    if mode == "quote":
        raise ValueError(f"column price must hold numbers, row 1 holds {{content!r}}")
draws = random.Random(f"{{seed}} {{side}} {{model_type}}")
saving = sum(draws.gauss(total_shares ** 0.5, 3.0) for _ in range(100)) / 100
row = {{"saving_%": saving, "saving_lower_%": saving - 1, "saving_upper_%": saving + 1}}
results = {{"symbol": "TINY", "side": side, "total_shares": total_shares, "model_type": model_type,
           "scope": "tiny", "strategies": {{"static optimal": row}}, "answer": f"It saves {{saving:.3g}} %."}}
if output_dir and mode != "silent":
    with open(os.path.join(output_dir, "figures", "strategy_dot.png"), "wb") as file:
        file.write({DOT!r})
    with open(os.path.join(output_dir, "strategy.json"), "w") as file:
        json.dump(results, file)"""
TEMPLATE = """# {{ manifest.configuration.title }}

{{ results.answer }} The saving is {{ results.strategies["static optimal"]["saving_%"] | sig }} %.

![dot](figures/strategy_dot.png)

| what | value |
|---|---|
| order | {{ results.total_shares | sig }} |
"""


def tiny_project(folder: Path) -> Project:
    """Its folders below `folder`."""
    project = tiny_again(folder)
    for path in (project.notebooks, project.configurations, project.templates):
        path.mkdir(parents=True)
    cell = nbformat.v4.new_code_cell
    cells = [cell(PARAMETERS, metadata={"tags": ["parameters"]}), cell(STORY)]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), project.notebook("strategy"))
    (project.templates / "strategy_summary.md.j2").write_text(TEMPLATE)
    return project


def write_configuration(project: Project, name: str, **parameters: Any) -> None:
    """One run of the tiny notebook."""
    content = {"title": f"tiny {name}", "sections": ["strategy"], "strategy": parameters}
    (project.configurations / f"{name}.yml").write_text(yaml.safe_dump(content))


def write_grid(project: Project, name: str, seeds: tuple[int, ...] = (1, 2), **more: Any) -> Path:
    """24 runs of the tiny notebook, 12 a seed."""
    axes = {
        "side": ["buy", "sell"],
        "model_type": ["linear", "power", "sqrt"],
        "total_shares": [100.0, 400.0],
        "seed": list(seeds),
    }
    path = project.configurations.parent / f"{name}.yml"
    path.write_text(yaml.safe_dump({"title": "tiny grid", "sections": ["strategy"], "shared": more, "axes": axes}))
    return path


def tiny_again(folder: Path) -> Project:
    """The project that `tiny_project` left in a folder."""
    return Project(
        folder / "notebooks", folder / "configs", folder / "templates", folder / "reports", {"strategy": "tiny.ipynb"}
    )


def _make_grid(project: Project) -> None:
    """In a fork, so that nothing is left of it when it is killed."""
    try:
        run_reports(load_grid(project.configurations.parent / "grid.yml", project), project, Options(jobs=2))
    finally:
        os._exit(0)


if __name__ == "__main__":  # each line on its input: a process that makes the grid's reports, to be killed
    for _ in sys.stdin:
        maker = os.fork()
        if maker == 0:
            _make_grid(tiny_again(Path(sys.argv[1])))
        sys.stdout.write(f"{maker}\n")
        sys.stdout.flush()
        os.waitpid(maker, 0)
        sys.stdout.write("ended\n")
        sys.stdout.flush()
