"""Freeze anew, on purpose: python tests/frozen/make.py RUN "SECTION/KEY*" --why "one sentence for CHANGELOG.md".

Only lines that match the pattern and lie beyond their tolerance (or are new, or gone) change; each is printed.
"""

from __future__ import annotations

import argparse
import sys
from fnmatch import fnmatchcase
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from frozen.chains import CHAINS, SCHEDULES, chains, computed, frozen_schedule, schedule_tolerance  # noqa: E402
from frozen.lines import FOLDER, Key, Line, read_lines, reported, tolerance, write_lines  # noqa: E402

from research_lib.errors import MissingDataError  # noqa: E402


def say(text: str) -> None:
    sys.stdout.write(text + "\n")


def fresh(run: str) -> tuple[dict[Key, Line], set[str], list[float] | None]:
    """All lines as they would be frozen today, the sections that no data told anything of, and the schedule."""
    stated, numbers, absent, schedule = reported(run), {}, set(), None
    known = {key: Line(*key, value, 0, 0, "") for key, value in stated.items()}
    for chain in chains(run):
        try:
            found, shares = computed(run, chain, known)
        except MissingDataError as missing:
            say(f"{run}: {chain} stays as it is: {missing}")
            absent.update(CHAINS[chain])
            continue
        numbers |= found
        schedule = schedule if shares is None else shares
    lines = {}
    for key in [*stated, *(key for key in numbers if key not in stated)]:
        kind = (
            "both"
            if key in numbers and key in stated
            else "computed"
            if key in numbers
            else "reported"
        )
        value = stated.get(key, numbers.get(key))
        if isinstance(value, str):
            lines[key] = Line(*key, value, 0, 0, "text")
            continue
        lines[key] = Line(*key, float(value), *tolerance(*key), kind)
        if kind == "both" and not lines[key].admits(numbers[key]):
            say(f"{run}: {'/'.join(key)}: the report has {value!r}, the library {numbers[key]!r}")
    return lines, absent, schedule


def refreeze(run: str, pattern: str) -> list[str]:
    """Replace what matches; the names of the lines that changed."""
    old = read_lines(run) if (FOLDER / f"{run}.csv").is_file() else {}
    new, absent, schedule = fresh(run)
    lines, changed = {}, []
    for key in [*old, *(key for key in new if key not in old)]:
        before, after = old.get(key), new.get(key)
        if before and key[0] in absent and before.kind in ("computed", "both"):
            after = before
        same = before and after and before.kind == after.kind and before.admits(after.value)
        if not same and fnmatchcase("/".join(key), pattern):
            changed.append("/".join(key))
            say(f"{run}: {changed[-1]}: {before and before.value!r} -> {after and after.value!r}")
            before = after
        if before:
            lines[key] = before
    write_lines(run, lines)
    if schedule is not None and fnmatchcase("schedule", pattern):
        columns = pd.read_csv(SCHEDULES) if SCHEDULES.is_file() else pd.DataFrame()
        if run not in columns or abs(frozen_schedule(run) - schedule).max() > schedule_tolerance(
            schedule
        ):
            changed.append("schedule")
            columns = columns.reindex(range(max(len(columns), len(schedule)))).assign(
                **{run: pd.Series(schedule)}
            )
            columns.round(6).to_csv(SCHEDULES, index=False)
    return changed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run")
    parser.add_argument(
        "pattern", help='"SECTION/KEY", with * for any; "schedule" for the vector of shares'
    )
    parser.add_argument("--why", required=True, help="the line of CHANGELOG.md")
    given = parser.parse_args()
    changed = refreeze(given.run, given.pattern)
    if changed:
        line = f"- Frozen numbers of `{given.run}` ({given.pattern}, {len(changed)} lines): {given.why}\n"
        log = ROOT / "CHANGELOG.md"
        before, heading, after = log.read_text().partition("### Changed numbers\n\n")
        log.write_text(before + heading + line + after.removeprefix("None.\n"))


if __name__ == "__main__":
    main()
