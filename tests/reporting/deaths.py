"""A process whose forks die at their n-th change of the file system while they replace a report: what is seen then.

`python deaths.py FOLDER` prints, for n = 0, 1, ... until a fork survives, what the next start leaves of the report.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from tiny_project import tiny_again, write_configuration

from research_lib.reporting import (
    Project,
    chosen_runs,
    exclusive,
    place,
    read_manifest,
    run_reports,
    verify_files,
)  # fmt: skip

NAME = "one"


def made(project: Project) -> tuple[dict[str, bytes], dict[str, Any]]:
    """A report's files by path, and its manifest."""
    write_configuration(project, NAME, ["portfolio"])
    assert run_reports(chosen_runs([], None, project), project) == {NAME: "made"}
    folder = project.reports / NAME
    manifest = read_manifest(folder)
    return {path: (folder / path).read_bytes() for path in manifest["outputs"]}, manifest


def replaced(project: Project, files: dict[str, bytes], manifest: dict[str, Any]) -> None:
    """As a run does it when its notebooks are done."""
    with exclusive(project.reports):
        place(project.reports, NAME, files, manifest)


def die_at(step: int) -> None:
    """Make this process end before its n-th change of the file system, without any clean-up."""
    seen = [0]

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        writes = event == "open" and str(arguments[1]) in ("w", "wb")
        if writes or event in ("os.rename", "os.mkdir", "os.remove", "os.rmdir"):
            if seen[0] == step:
                os._exit(9)
            seen[0] += 1

    sys.addaudithook(watch)


def status_of_fork(
    project: Project, files: dict[str, bytes], manifest: dict[str, Any], step: int
) -> int:
    """How a fork ends that replaces the report and dies at a step; 0 where it has no so many."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            die_at(step)
            replaced(project, files, manifest)
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def deaths(project: Project) -> list[dict[str, Any]]:
    """After each death: the report's title, what is wrong with it, and what lies unseen beside it."""
    old, manifest = made(project)
    page = "portfolio_summary.md"
    new = old | {page: old[page].replace(b"# What does it cost?", b"# New")}
    folder, seen, status = project.reports / NAME, list[dict[str, Any]](), 9
    while status == 9:
        status = status_of_fork(project, new, manifest, len(seen))
        run_reports([], project)  # the next start heals
        text = (folder / page).read_text()
        left = [path.name for path in project.reports.glob(".*/*")]
        seen.append({"title": text.split("\n")[0], "wrong": verify_files(folder), "left": left})
        replaced(project, old, manifest)
    assert status == 0
    return seen


if __name__ == "__main__":
    sys.stdout.write(json.dumps(deaths(tiny_again(Path(sys.argv[1])))))
