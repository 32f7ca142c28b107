"""What the library computes of a run: the sections, each by its chain."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from frozen import modeling, portfolio, strategy, transient
from frozen.lines import FOLDER, LEFT_OUT, Key, Line, flatten, parameters

SCHEDULES = (
    FOLDER / "schedules.csv"
)  # one column a run: the static optimum, shares, as its report has it
CHAINS = {
    "modeling": ("modeling",),
    "strategy": ("strategy", "orders"),
    "transient": ("transient",),
}
CHAINS |= {
    "stocks": ("stocks",),
    "portfolio": ("portfolio",),
}  # the sections of the lines that a chain computes


def chains(run: str) -> list[str]:
    """Of a run; the portfolio's are two, as its schedules need no data."""
    sections = list(parameters(run))
    return ["stocks", *sections] if "portfolio" in sections else sections


def computed(
    run: str, chain: str, frozen: dict[Key, Line]
) -> tuple[dict[Key, float], np.ndarray | None]:
    """Numbers by section and key, and the static schedule of a strategy.

    Raises
    ------
    MissingDataError
        Real data that RESEARCH_DATA lacks.
    """
    stored = parameters(run)
    if chain == "portfolio":
        sections = portfolio.compute(
            stored["portfolio"], {key: line.value for key, line in frozen.items()}
        )
    elif chain == "stocks":
        sections = portfolio.measure(stored["portfolio"])
    else:
        sections = {"modeling": modeling, "strategy": strategy, "transient": transient}[
            chain
        ].compute(stored[chain])
    shares = sections.pop("shares", None)
    found: dict[Key, Any] = {
        (section, key): value
        for section, facts in sections.items()
        for key, value in flatten(facts)
        if not isinstance(value, str) and not LEFT_OUT.fullmatch(key)
    }
    return found, shares


def frozen_schedule(run: str) -> np.ndarray:
    return pd.read_csv(SCHEDULES)[run].dropna().to_numpy()


def schedule_tolerance(shares: np.ndarray) -> float:
    """Shares: half of the sixth decimal that the report keeps, and 1e-9 of the order.

    The multiplier is exact to rounding, and a child order amplifies the coefficients' error by its marginal cost over
    its impact, less than 1e3: 1e-12 of them is 1e-9 of the order.
    """
    return 5e-7 + 1e-9 * float(shares.sum())
