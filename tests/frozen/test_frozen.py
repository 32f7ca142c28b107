"""The numbers of the 18 runs of the first build stay: see README.md of this folder."""

from __future__ import annotations

import dataclasses
import math
import warnings

import numpy as np
import pytest
from frozen.chains import CHAINS, chains, computed, frozen_schedule, schedule_tolerance
from frozen.lines import FOLDER, Key, Line, read_lines, reported

from research_lib.errors import MissingDataError

RUNS = sorted(path.stem for path in FOLDER.glob("*.csv") if path.stem != "schedules")
WIDEST = 1e-5  # relative, of what the library computes: a coefficient changed by 1e-4 shows


def differences(lines: list[Line], found: dict[Key, float | str]) -> list[str]:
    """One text a line that what was found does not keep."""
    return [
        f"{line.section}/{line.key}: frozen {line.value!r}, found {found.get((line.section, line.key), 'nothing')!r} "
        f"(within {line.rel_tol:g} of it or {line.abs_tol:g})"
        for line in lines
        if not line.admits(found.get((line.section, line.key)))
    ]


def test_all_eighteen_runs_are_frozen() -> None:
    assert len(RUNS) == 18
    assert all(len(read_lines(run)) > 150 for run in RUNS)


REMEDY = "find what moved; a number that leaves on purpose is frozen anew by tests/frozen/make.py (README.md there)"


@pytest.mark.parametrize("run", RUNS)
def test_the_committed_report_states_the_frozen_numbers_and_sentences(run: str) -> None:
    lines = [line for line in read_lines(run).values() if line.kind != "computed"]
    assert not differences(lines, reported(run)), REMEDY


@pytest.mark.slow
@pytest.mark.parametrize(("run", "chain"), [(run, chain) for run in RUNS for chain in chains(run)])
def test_the_library_computes_the_frozen_numbers(run: str, chain: str) -> None:
    frozen = read_lines(run)
    lines = [
        line
        for line in frozen.values()
        if line.kind in ("both", "computed") and line.section in CHAINS[chain]
    ]
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # of empty days; whether the library warns is another test's claim
        try:
            found, shares = computed(run, chain, frozen)
        except MissingDataError as absent:
            pytest.skip(str(absent))
    assert len(lines) >= 2
    assert not differences(lines, found), REMEDY
    if shares is not None:
        np.testing.assert_allclose(
            shares, frozen_schedule(run), rtol=0, atol=schedule_tolerance(shares)
        )


def test_no_tolerance_hides_a_coefficient_changed_by_a_ten_thousandth() -> None:
    """Each run keeps lines of every section that refuse a number 1 + 1e-4 times theirs."""
    for run in RUNS:
        lines = [line for line in read_lines(run).values() if line.kind in ("both", "computed")]
        usual = [line for line in lines if not line.key.endswith(("p_value", "_p"))]
        assert all(line.rel_tol <= WIDEST for line in usual)
        for section in {line.section for line in lines}:
            mine = [
                line
                for line in usual
                if line.section == section and math.isfinite(line.value) and line.value
            ]
            moved = {(line.section, line.key): line.value * (1 + 1e-4) for line in mine}
            # what a strategy saves may be 1e-13, a rounding error: such lines keep no coefficient
            assert len(differences(mine, moved)) >= 0.75 * len(mine) > 0, (run, section)


def test_a_line_keeps_to_its_value_its_kind_of_number_and_its_words() -> None:
    line = Line("modeling", "beta", 2.0, 1e-9, 0.0, "both")
    assert line.admits(2.0 * (1 + 5e-10))
    assert not line.admits(2.0 * (1 + 5e-9))
    assert not any(line.admits(other) for other in (None, math.nan, "2.0"))
    unknown = dataclasses.replace(line, value=math.nan)
    assert unknown.admits(math.nan)
    assert not unknown.admits(2.0)
    told = dataclasses.replace(line, value="holds", kind="text")
    assert told.admits("holds")
    assert not told.admits("holds in part")
