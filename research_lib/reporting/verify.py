"""Verifies reports: as their manifests say, and as a second run says."""

import json
import math
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from research_lib.checks import refuse_unknown
from research_lib.config import data_files
from research_lib.errors import ValidationError
from research_lib.reporting import manifest as files
from research_lib.reporting.parameters import Project, RunConfig
from research_lib.reporting.run import LONGEST, Options, run_reports

Differences = dict[str, list[str]]  # of each report
# Of the same inputs on another machine: solvers stop elsewhere, sums round otherwise.
RELATIVE = 1e-6
ABSOLUTE = 1e-9  # below it a number is rounding noise, such as a residual
ABSENT = "absent"  # begins the one line that is no fault of the report
PROSE = ("answer", "verdict")  # sentences of results.json


def verify_reports(names: Sequence[str] = (), project: Project | None = None) -> Differences:
    """Check reports against their manifests, their data, and a second run of their parameters.

    Each file must have the SHA-256 that the manifest has of it. Of the second run, numbers of
    results.json and tables (.csv) must agree within 1e-6 relative or 1e-9 absolute, and the same
    files must be made. Prose, pixels, durations and memory are not compared.

    Returns
    -------
    dict of name to differences
        One line each, naming the file or the result; none where a report is verified. A line
        that begins with "absent" says that its data are not here, which is no fault of it.

    Raises
    ------
    ValidationError
        A name without a report.
    """
    project = project or Project()
    known = sorted(path.parent.name for path in project.reports.glob("*/manifest.json"))
    refuse_unknown(names, known, "report")
    found = {name: verify_files(project.reports / name) for name in names or known}
    runs = []
    for name in (name for name, differences in found.items() if not differences):
        try:
            runs.append(_described(project.reports / name, project))
        except ValidationError as error:
            found[name] = [f"its configuration no longer holds: {error}"]
    with tempfile.TemporaryDirectory(prefix="verify-") as elsewhere:
        again = replace(project, reports=Path(elsewhere))
        for name, what in run_reports(runs, again).items():
            both = project.reports / name, again.reports / name
            found[name] = list(_compared(*both)) if what == "made" else [what]
    return found


def remake(run: RunConfig, project: Project, options: Options) -> tuple[str, list[str] | None]:
    """Make a report from scratch, whatever is there, and compare it with what was there.

    A robustness section that is there is kept: it takes longer than the others together.

    Returns
    -------
    str
        What became of it, as `run_reports` says.
    list of str, or None
        Differences of numbers, none where they were reproduced; None where there was no sound
        report to compare with, or none was made.
    """
    folder = project.reports / run.name
    sound = folder.is_dir() and not files.changed_files(folder)
    with tempfile.TemporaryDirectory(prefix="remake-") as elsewhere:
        before = Path(elsewhere) / run.name
        if sound:
            shutil.copytree(folder, before)
        how = replace(options, force=True, kept=LONGEST)
        became = run_reports([run], project, how)[run.name]
        made = became.startswith("made")
        return became, list(_compared(before, folder)) if sound and made else None


def verify_files(folder: Path) -> list[str]:
    """What is wrong with a report as it lies there, found without running anything."""
    if found := files.changed_files(folder):
        return found
    for record in files.read_manifest(folder)["sections"].values():
        for name, known in record["inputs"]["data"].items():
            path = data_files(name).get(name)
            if path is None:
                found.append(f"{ABSENT}: data file {name} is not in RESEARCH_DATA: no second run")
            elif files.file_hash(path) != known:
                found.append(f"data file {name} was changed: its SHA-256 is not the manifest's")
    return list(dict.fromkeys(found))


def _described(folder: Path, project: Project) -> RunConfig:
    """The configuration that a manifest describes, checked like any other."""
    manifest = files.read_manifest(folder)
    own, sections = manifest["configuration"], manifest["sections"]
    content = {"title": own["title"], "sections": list(sections)}
    content |= {section: record["inputs"]["parameters"] for section, record in sections.items()}
    return RunConfig.from_content(folder.name, content, project, Path(own["source"]))


def _compared(folder: Path, again: Path) -> Iterator[str]:
    mine, other = files.file_hashes(folder).keys(), files.file_hashes(again).keys()
    lone = sorted(name for name in mine ^ other if not name.endswith(files.MADE_ANEW))
    yield from (f"{name} is made by one run only" for name in lone)
    stated, due = (files.read_json(one / "results.json") for one in (folder, again))
    yield from (f"results.json: {line}" for line in differing(stated, due))
    for name in sorted(name for name in mine & other if name.endswith(".csv")):
        tables = pd.read_csv(folder / name), pd.read_csv(again / name)
        try:
            pd.testing.assert_frame_equal(*tables, check_dtype=False, rtol=RELATIVE, atol=ABSOLUTE)
        except (AssertionError, ValueError) as error:  # ValueError: an empty one
            yield f"{name}: {' '.join(str(error).split())}"[:300]


def differing(stated: Any, due: Any, where: str = "") -> Iterator[str]:
    """Where two results differ beyond the tolerances of numbers; sentences are not compared.

    Examples
    --------
    >>> list(differing({"cost": 1.0, "n": 3}, {"cost": 1.0 + 1e-9, "n": 4}))
    ['n is 3, run again 4']
    """
    kinds = {type(stated), type(due)}
    if kinds == {dict} and stated.keys() == due.keys():
        for key in stated:
            yield from differing(stated[key], due[key], f"{where}.{key}" if where else key)
    elif kinds <= {int, float}:
        if not math.isclose(stated, due, rel_tol=RELATIVE, abs_tol=ABSOLUTE):
            yield f"{where} is {stated}, run again {due}"
    elif stated != due and not (kinds == {str} and where.endswith(PROSE)):
        yield f"{where} is {json.dumps(stated):.60}, run again {json.dumps(due):.60}"
