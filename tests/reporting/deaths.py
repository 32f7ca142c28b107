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

from research_lib.reporting import Project, RunConfig, chosen_runs, run_reports, verify_files


def titled(project: Project, title: str) -> list[RunConfig]:
    """The one run, whose report is written anew without running anything when its title changes."""
    write_configuration(project, "one", ["portfolio"], title)
    return chosen_runs([], None, project)


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


def status_of_fork(project: Project, runs: list[RunConfig], step: int) -> int:
    """How a fork ends that replaces the report and dies at a step; 0 where it has no so many."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            die_at(step)
            run_reports(runs, project)
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def deaths(project: Project) -> list[dict[str, Any]]:
    """After each death: the report's first line, what is wrong with it, and what lies unseen beside it."""
    old, new = titled(project, "old"), titled(project, "new")
    assert run_reports(old, project) == {"one": "made"}
    folder, seen, status = project.reports / "one", list[dict[str, Any]](), 9
    while status == 9:
        status = status_of_fork(project, new, len(seen))
        run_reports([], project)  # the next start heals
        text = (folder / "portfolio_summary.md").read_text()
        left = [path.name for path in project.reports.glob(".*/*")]
        seen.append({"title": text.split("\n")[0], "wrong": verify_files(folder), "left": left})
        assert run_reports(old, project) == {"one": "unchanged"}
    assert status == 0
    return seen


if __name__ == "__main__":
    sys.stdout.write(json.dumps(deaths(tiny_again(Path(sys.argv[1])))))
