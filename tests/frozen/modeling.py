"""The chain of the modelling notebook: books, walks, fits, and what it states of them."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd

from research_lib import ImpactModel, ModelConfig
from research_lib.config import data_file
from research_lib.impact import ImpactCurve, ImpactFit, fit_impact
from research_lib.market import (
    BookSnapshots,
    QualityPolicy,
    Session,
    assess,
    preset,
    read_books,
    summarise,
)

QUICK_FORMS = ("linear", "nonlinear", "sqrt")
FORMS = (
    *QUICK_FORMS,
    "power",
    "piecewise",
)  # on one real day these two take ten seconds: their report's lines stand


@lru_cache(maxsize=4)
def _real(file: str, n_intervals: int, settings: str) -> tuple[BookSnapshots, dict[str, Any]]:
    """Reading a day takes seconds, and both sections and both sides of it are frozen."""
    times, quality = json.loads(settings)
    session = Session(n_intervals, **times)
    return sampled(read_books(data_file(file), session=session), session, QualityPolicy(**quality))


def sampled(
    raw: BookSnapshots, session: Session, policy: QualityPolicy
) -> tuple[BookSnapshots, dict[str, Any]]:
    """Books of the intervals, and what the raw states were."""
    states, quality = assess(raw, session, policy)
    books = states.sample(session)
    facts = {
        "states": quality.rows,
        "longest_gap": quality.longest_gap_seconds,
        "quality": {kind: {"states": count} for kind, count in quality.counts.items()},
        "weighted": {
            f"{weight}-weighted": dict(summarise(states, session, weight))
            for weight in ("time", "event")
        },
        "sampled": {
            "intervals": len(books),
            "without a usable book": int(np.sum(~books.complete)),
            "older than 30 s": int(books.stale(30).sum()),
        },
    }
    return books, facts


def books_of(
    p: dict[str, Any], session: Session, rng: np.random.Generator
) -> tuple[BookSnapshots, dict[str, Any]]:
    if p["data_file_name"]:
        settings = json.dumps([p["session_settings"], p["quality_settings"]])
        return _real(p["data_file_name"], p["n_intervals"], settings)
    raw = preset(p["preset_name"], session).books(
        p["n_days"] * p["n_intervals"], p["n_levels"], rng
    )
    return sampled(raw, session, QualityPolicy(**p["quality_settings"]))


def spread_out(values: Any) -> dict[str, float]:
    """How the values of a day are spread, and those of four intervals."""
    x = np.asarray(values, float)
    some = {str(t): x[t] for t in (0, len(x) // 4, len(x) // 2, len(x) - 1)}
    known = x[np.isfinite(x)]
    if not len(known):
        return {"finite": 0}
    return {
        "finite": len(known),
        "sum": known.sum(),
        "median": np.median(known),
        "max": known.max(),
        **some,
    }


def curve_facts(curve: ImpactCurve, sizes: np.ndarray) -> dict[str, Any]:
    middle, largest = sizes[len(sizes) // 2], sizes[-1]
    facts = {f"slippage of {x:g}": spread_out(curve.slippage(x)) for x in (middle, largest)}
    return {"half_spread": spread_out(curve.half_spread)} | facts


def fit_facts(fit: ImpactFit, sizes: np.ndarray) -> dict[str, Any]:
    facts = {"curve": curve_facts(fit.curve, sizes)}
    for what, table in (("params", fit.params), ("bse", fit.bse)):
        finite = table[np.isfinite(table)]
        facts |= {what: {"sum": dict(finite.sum()), "at noon": dict(table.iloc[len(table) // 2])}}
    return facts


def compute(p: dict[str, Any]) -> dict[str, Any]:
    n = p["n_intervals"]
    session, config = Session(n, **p["session_settings"]), ModelConfig(**p["model_settings"])
    books, facts = books_of(p, session, np.random.default_rng(p["seed"]))
    sizes = np.array(p["trade_sizes"], float)
    slippage = ImpactModel(p["model_type"], config, session).estimate_slippage(
        books, sizes, p["side"], n
    )
    how = {"n_intervals": n, "session": session}
    settings = {
        "min_observations": config.min_observations,
        "tolerance": config.numerical_tolerance,
    }
    forms = dict.fromkeys((*QUICK_FORMS, p["model_type"])) if p["data_file_name"] else FORMS
    fits = {
        form: fit_impact(slippage, form, test_fraction=p["test_fraction"], **settings, **how)
        for form in forms
    }
    ways = ("complete", "drop", "face_value")
    pooled = {
        way: fit_impact(
            slippage, "linear", by="pooled", censoring=way, test_fraction=0, session=session
        )
        for way in ways
    }
    beta = pd.Series({way: one.params["beta"].iloc[0] for way, one in pooled.items()})
    against = 100 * (beta / beta["complete"] - 1)
    fit = fits[p["model_type"]]
    censored = slippage.groupby("trade_size")["censored"].mean().mul(100).round(2)
    facts = facts | {
        "metrics": {form: one.metrics for form, one in fits.items()},
        "treatment": {way: {"beta": beta[way], "against_complete_%": against[way]} for way in ways},
        "censored_percent": {f"{x:,.0f} shares": value for x, value in censored.items()},
        "borrowed": {key: len(fit.diagnostics[key]) for key in ("widened", "pooled", "bounded")},
        "table": _table(fit.curve, sizes, float(np.nanmedian(books.mid)), n),
        "fits": {
            form: fit_facts(fits[form], sizes)
            for form in dict.fromkeys(("linear", p["model_type"]))
        },
    }
    if not p["data_file_name"]:
        facts["against_truth"] = _against_truth(
            fit.curve, preset(p["preset_name"], session).true_curve, censored
        )
    return {"modeling": facts}


def _table(
    curve: ImpactCurve, sizes: np.ndarray, mid: float, n: int
) -> dict[str, dict[str, float]]:
    """Half-spread and slippage by part of the day, in bps of the median mid."""
    parts = {
        "open": slice(0, n // 6),
        "midday": slice(n // 3, 2 * (n // 3)),
        "close": slice(n - n // 6, n),
    }
    unit, shown = 1e4 / mid, sizes[[0, len(sizes) // 2, -1]]
    return {
        name: {"half-spread": unit * curve.half_spread[part].mean()}
        | {f"{x:,.0f} shares": unit * curve.slippage(x)[part].mean() for x in shown}
        for name, part in parts.items()
    }


def _against_truth(
    curve: ImpactCurve, truth: ImpactCurve, censored: pd.Series
) -> dict[str, dict[str, float]]:
    errors = {
        f"{int(x):,}": 100 * (curve.slippage(x) / truth.slippage(x) - 1)
        for x in censored.index[censored < 5][::2]
    }
    return {
        x: {"mean_error_%": e.mean(), "rms_error_%": np.sqrt(np.mean(e**2))}
        for x, e in errors.items()
    }
