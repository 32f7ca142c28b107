"""A project of one notebook that takes no time, for what is said of many runs."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import nbformat
import yaml
from helpers import as_from_a_terminal

from research_lib.__main__ import main
from research_lib.reporting import RESULTS_TYPE, TABLE_TYPE, Project

PARAMETERS = """section: str = "strategy"  # or "portfolio", which compares no strategies
total_shares: float = 100.0  # shares
seed: int = 7  # of the draws
side: str = "buy"  # or "sell"
model_type: str = "linear"  # form
data_file_name: str = ""  # file below RESEARCH_DATA
mode: str = ""  # "fail", "hang", "hang on seed 2", "grind on seed 2", "hoard", "quote", "silent", "die" or "orphan": what goes wrong
pause: float = 0.0  # seconds before the results"""
DOT = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
# What must exceed a limit hangs for ever afterwards: no machine is so slow that it ends before it is seen.
STORY = """import json, os, random, signal, time
time.sleep(pause)
if mode == "hoard":
    kept = [bytearray(os.urandom(1)) * 20_000_000 for _ in range(30)]
if mode == "orphan":
    os.kill(os.getppid(), signal.SIGKILL)
while mode in ("hang", f"hang on seed {seed}", "hoard", "orphan"):
    time.sleep(1)
if mode == f"grind on seed {seed}":
    sum(range(10**18))  # compiled, with the interpreter's lock: nothing else in the kernel runs
if mode == "die":
    os._exit(3)
assert mode != "fail", "it was told to"
if data_file_name:
    content = open(os.path.join(os.environ["RESEARCH_DATA"], data_file_name)).read()
    total_shares += len(content)
    if mode == "quote":
        raise ValueError(f"column price must hold numbers, row 1 holds {content!r}")
draws = random.Random(f"{seed} {side} {model_type}")
mean = -sum(draws.gauss(total_shares ** 0.5, 3.0) for _ in range(100)) / 100
answer = f"It is cheaper by {-mean:.3g} bps."
"""
# What a real notebook does by `Report`; without the library, whose import takes longer than all of this.
ANSWER = f"""from IPython.display import Markdown, display
display({{"image/png": "{DOT}"}}, raw=True, metadata={{"filename": f"{{section}}_dot.png", "image/png": {{"alt": "A dot"}}}})
display(Markdown(f"**{{answer}}** The order has {{total_shares:g}} shares."))
results = {{"answer": answer, "symbol": "TINY", "synthetic": True, "side": side, "total_shares": total_shares,
           "model_type": model_type}}
if section == "strategy":
    results |= {{"difference_bps": mean, "lower_bps": mean - 1, "upper_bps": mean + 1, "benchmark_bps": 20.0,
                "n_sessions": 20, "p_value": 0.01}}
if mode != "silent":
    table = {{"name": f"{{section}}_schedule.csv", "csv": "start,shares\\n09:30:00,51.5\\n09:31:00,0.012345\\n"}}
    display({{"{TABLE_TYPE}": table, "text/plain": "a table"}}, raw=True)
    display({{"{RESULTS_TYPE}": {{"results": results, "timings": {{}}}}}}, raw=True)"""


def tiny_project(folder: Path) -> Project:
    """Its folders below `folder`."""
    project = tiny_again(folder)
    for path in (project.notebooks, project.configurations):
        path.mkdir(parents=True)
    cell = nbformat.v4.new_code_cell
    cells = [
        nbformat.v4.new_markdown_cell("# What does it cost?\n\n**Question.** Of a tiny order."),
        cell(PARAMETERS, metadata={"tags": ["parameters"]}),
        cell(STORY),
        cell(ANSWER, metadata={"tags": ["answer"]}),
    ]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(
        nbformat.v4.new_notebook(cells=cells, metadata=kernel), project.notebook("strategy")
    )
    return project


def write_configuration(
    project: Project,
    name: str,
    sections: Sequence[str] = ("strategy",),
    title: str = "",
    **parameters: Any,
) -> None:
    """One run of the tiny notebook, or of its two sections; parameters are those of the first."""
    content: dict[str, Any] = {"title": title or f"tiny {name}", "sections": list(sections)}
    content |= {section: {"section": section} for section in sections}
    content[sections[0]] |= parameters
    (project.configurations / f"{name}.yml").write_text(yaml.safe_dump(content))


def write_grid(project: Project, name: str, seeds: Iterable[int] = (1, 2), **shared: Any) -> Path:
    """4 runs of the tiny notebook a seed, neighbours of different seeds."""
    axes = {"side": ["buy", "sell"], "total_shares": [100.0, 400.0], "seed": list(seeds)}
    path = project.configurations.parent / f"{name}.yml"
    content = {"title": "tiny grid", "sections": ["strategy"], "shared": shared, "axes": axes}
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def tiny_again(folder: Path) -> Project:
    """The project that `tiny_project` left in a folder."""
    sections = dict.fromkeys(("strategy", "portfolio"), "tiny.ipynb")
    return Project(folder / "notebooks", folder / "configs", folder / "reports", sections)


def command(project: Project, *arguments: str) -> list[str]:
    """That runs `python -m research_lib` with these arguments over a tiny project, as from a terminal."""
    return [sys.executable, __file__, str(project.notebooks.parent), *arguments]


if __name__ == "__main__":
    as_from_a_terminal()
    sys.exit(main(sys.argv[2:], tiny_again(Path(sys.argv[1]))))
