"""Frozen numbers: their files, what the committed reports state, and how far a number may lie from its line."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

FOLDER = Path(__file__).resolve().parent
REPORTS = FOLDER.parents[1] / "reports"
Key = tuple[str, str]  # section; path of a number in it, joined by "/"

# What a report tells of itself rather than of the market (settings, certificates that are rounding errors), and the
# lesser columns of its tables.
LEFT_OUT = re.compile(
    "|".join(
        (
            r"(seed|n_intervals|total_shares|timezone|n_null|cap|preset|real|side|symbol|days|names|draws|gross)(/.*)?",
            r"(fitted_on|replayed|swings|response_intervals|walked_.*)(/.*)?|.*/intervals|constrained/.*/largest_net_%",
            r"(certificate/)?(kkt_residual|duality_gap)|solvers/.*/(gap|residual|iterations|reason)",
            r"quality/.*/(meaning|done|share_%)|(distances|latency)/.*",
            # Settings of a strategy, and tables that vary a headline: those of orders and parts are kept.
            r"n_sessions|n_seeds|synthetic|earlier|urgency|half_done|latency_seconds|fee_per_share|first|last|optimism|detectable",
            r"(sensitivity|placebo|frontier|saved|seeds|scenarios)/.*|strategies/.*/(p_value|orders|sessions|objective_bps)",
            r"strategies/.*(lower|upper)_bps|kernels/.*/(lower|upper|source)",
        )
    )
)

# section/key, relative and absolute tolerance, and the error that they bound; the first that matches holds.
RULES: tuple[tuple[str, float, float, str], ...] = (
    (r"orders/.*", 1e-9, 1e-6, "the report's table has six decimals"),
    (r"modeling/schedules/.*/p_value", 0.0, 2e-3, "one of at least 500 draws does"),
    (
        r".*(p_value|_p)",
        1e-4,
        1e-12,
        "a fit's p-value is a tail: an error of 1e-9 in its statistic is 1e-7 of it, or more far out",
    ),
    (r"modeling/coverage/.*", 0.0, 2.001e-3, "one of 500 simulated intervals changes sides"),
    (
        r"transient/half_lives/.*|transient/lives/.*|transient/windows/.*",
        1e-5,
        1e-9,
        "a fit stopped at 1e-8, and ends",
    ),
    (
        r"transient/parameters/rho.*|transient/(regret|from_mid|in_bps)/.*",
        1e-5,
        1e-9,
        "they follow a fitted half-life",
    ),
    (
        r"transient/(decaying|parameters|by_half_life)/.*",
        1e-6,
        1e-15,
        "a fit stopped at 1e-8, less what stays of it",
    ),
    (
        r"strategy/solvers/(cvxpy|scipy)/cost",
        1e-5,
        0.0,
        "the duality gap that a certified solver may leave",
    ),
    (
        r"portfolio/(constrained|crossed|kept).*",
        1e-6,
        1e-6,
        "the KKT residual that the notebook admits, 1e-6",
    ),
    (
        r"portfolio/(alone/.*L_VaR|regret).*",
        1e-6,
        1e-6,
        "a one-dimensional search; plans solved to 1e-6",
    ),
    (
        r"modeling/fits/(power|piecewise)/.*",
        1e-6,
        1e-15,
        "coefficients solved to 1e-8; one may be 1e-9, or be 0",
    ),
    (
        r"modeling/(fits|treatment)/.*|strategy/(curve|certificate)/.*|stocks/.*",
        1e-9,
        1e-15,
        "sums, as below; currency per share and share may be as little as 1e-9",
    ),
    (
        r".*(lower|upper|null_mean).*",
        1e-6,
        1e-6,
        "draws are whole numbers from a seed, sums of them are not",
    ),
    (
        r"modeling/.*(power|sqrt|piecewise|validation|schedules).*",
        1e-6,
        1e-8,
        "coefficients solved to 1e-8",
    ),
    (
        r".*(saving|saved|cost_%|_%|bias|skipping).*",
        1e-9,
        1e-7,
        "100 times a difference of ratios near 1",
    ),
    (
        r".*",
        1e-9,
        1e-9,
        "sums in another order, or by wider vectors: 1e-16 a term over at most 1e6 terms",
    ),
)


@dataclass
class Line:
    """One frozen number (or sentence): the value, how far another may lie from it, and who states it."""

    section: str
    key: str
    value: float | str
    rel_tol: float
    abs_tol: float
    kind: str  # "reported", "computed", "both" or "text"

    def admits(self, found: float | str | None) -> bool:
        if found is None or isinstance(found, str) or isinstance(self.value, str):
            return found == self.value
        if math.isnan(found) or math.isnan(self.value):
            return math.isnan(found) and math.isnan(self.value)
        return math.isclose(found, self.value, rel_tol=self.rel_tol, abs_tol=self.abs_tol)


def tolerance(section: str, key: str) -> tuple[float, float]:
    """Relative and absolute, by the first rule that matches."""
    return next(
        (rel, absolute)
        for rule, rel, absolute, _ in RULES
        if re.fullmatch(rule, f"{section}/{key}")
    )


def read_lines(run: str) -> dict[Key, Line]:
    """The frozen lines of a run, as they stand in its file."""
    with (FOLDER / f"{run}.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    lines = {}
    for row in rows:
        value = row["value"] if row["kind"] == "text" else float(row["value"])
        tolerances = (float(row["rel_tol"] or 0), float(row["abs_tol"] or 0))
        lines[row["section"], row["key"]] = Line(
            row["section"], row["key"], value, *tolerances, row["kind"]
        )
    return lines


def write_lines(run: str, lines: Mapping[Key, Line]) -> None:
    with (FOLDER / f"{run}.csv").open("w", newline="") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(["section", "key", "value", "rel_tol", "abs_tol", "kind"])
        for line in lines.values():
            text = isinstance(line.value, str)
            value = line.value if text else f"{line.value:.11g}"
            limits = ["", ""] if text else [f"{line.rel_tol:g}", f"{line.abs_tol:g}"]
            out.writerow([line.section, line.key, value, *limits, line.kind])


def flatten(tree: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, float | str]]:
    """Numbers and texts of nested dictionaries and lists with their paths; null and infinite are NaN, true is 1."""
    if isinstance(tree, dict):
        for name, branch in tree.items():
            yield from flatten(branch, (*path, str(name)))
    elif isinstance(tree, list):
        for position, branch in enumerate(tree):
            yield from flatten(branch, (*path, str(position)))
    else:
        if not isinstance(tree, str):
            tree = float(tree) if tree is not None and math.isfinite(tree) else math.nan
        yield "/".join(path), tree


def reported(run: str, folder: Path | None = None) -> dict[Key, float | str]:
    """What the committed report of a run states. A report of another layout is read here, and only here.

    Scalars stand in results.json and in the table called facts; another table's number has the table's name, the
    row's and the column's as its key, without the column's where that is called value.
    """
    folder = folder or REPORTS / run
    stated = json.loads((folder / "results.json").read_text())
    trees: dict[str, dict[str, Any]] = {section: dict(own) for section, own in stated.items()}
    for path in sorted((folder / "tables").glob("*.csv")):
        section, name = path.stem.split("_", 1)
        if name not in UNREAD:
            tree = trees[MOVED.get(name, section)]
            tree |= _rows(path) if name == "facts" else {name: _rows(path)}
    found: dict[Key, float | str] = {}
    for section, results in trees.items():
        for key, value in flatten(results):
            if not LEFT_OUT.fullmatch(key):
                stocks = section == "portfolio" and key.startswith("stocks/")
                found[("stocks", key.removeprefix("stocks/")) if stocks else (section, key)] = value
    tables = folder / "tables"
    if (tables / "strategy_orders.csv").is_file():
        found |= _first_orders(pd.read_csv(tables / "strategy_orders.csv"), trees["strategy"])
        shares = pd.read_csv(tables / "strategy_schedule.csv")["shares"].map("{:.6f}".format)
        found["strategy", "schedule/sha256"] = hashlib.sha256(
            "\n".join(shares).encode()
        ).hexdigest()
    return found


# Long tables, of which the first orders and the schedule's hash are frozen.
UNREAD = ("orders", "costs", "strategy_costs", "schedule")
# Tables of the robustness notebook that were frozen when the strategy notebook had them.
MOVED = dict.fromkeys(("dispersion", "coverage", "bootstrap"), "strategy")


def _rows(path: Path) -> dict[str, Any]:
    """A table by row and column; of a table with the one column `value`, by row."""
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    rows: dict[str, Any] = {}
    for name, *cells in table.itertuples(index=False):
        values = [_value(cell) for cell in cells]
        named = dict(zip(table.columns[1:], values, strict=True))
        rows[name] = named["value"] if list(named) == ["value"] else named
    return rows


def _value(text: str) -> float | str:
    if text in ("", "True", "False"):
        return math.nan if not text else float(text == "True")
    try:
        return float(text)
    except ValueError:
        return text


def _first_orders(table: pd.DataFrame, results: Mapping[str, Any]) -> dict[Key, float | str]:
    """The headline order of the first evaluated sessions, from the table of all orders."""
    days = sorted(table["start"].unique())[:FIRST_DAYS]
    mine = table[
        np.isclose(table["size"], results["total_shares"])
        & (table["side"] == results["side"])
        & table["start"].isin(days)
    ]
    return {
        ("orders", f"{days.index(row['start'])}/{row['strategy']}/{column}"): float(row[column])
        for _, row in mine.iterrows()
        for column in ORDER_COLUMNS
    }


FIRST_DAYS = 2
ORDER_COLUMNS = (
    "spread_bps", "walk_bps", "selection_bps", "carried_bps", "fees_bps", "total_bps",
    "shortfall_bps", "timing_risk_bps",
)  # fmt: skip


def parameters(run: str) -> dict[str, dict[str, Any]]:
    """By section, with the defaults of today: what a number was computed with is part of the freeze."""
    stored = json.loads((FOLDER / "parameters.json").read_text())
    return {
        section: stored["defaults"][section] | own for section, own in stored["runs"][run].items()
    }
