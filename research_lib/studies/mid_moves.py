"""Can the next move of the mid be forecast, how far ahead, and how soon must one act on it?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pandas as pd
from tqdm import tqdm

from research_lib.checks import Float
from research_lib.config import Record
from research_lib.evaluation import BoostedMid, GivenMoves, Ladder, MidForecast, mids_after
from research_lib.evaluation.executions import level_flow
from research_lib.evaluation.mid_forecast import SIGNALS
from research_lib.market import BookSnapshots
from research_lib.studies.experiment import Sessions
from research_lib.studies.forecasts import MID_IN_USE, ratio_interval, rolling

HORIZONS = (5.0, 60.0, 300.0)  # seconds: of flow before a forecast, and of moves after it
LATENCIES = (0.0, 1.0, 10.0)  # seconds
MODELS = (MID_IN_USE, "regression", "boosting")
CHECKS = ("yesterday", "shuffled sessions", "one hour stale")


@dataclass(frozen=True, eq=False)
class MidPanel(Record):
    """Signals and moves of the mid at the starts of intervals, by session.

    Attributes
    ----------
    start : (D,) int64 ns UTC
    names : sequence of str
    signals : (D, n, k)
        Known at the start of each interval: those of a `Ladder` of a buy and the move of the mid
        over the interval before; where every state is known order flow of books and of trades and
        the move over 5, 60 and 300 s before.
    moves : mapping of (horizon, latency) in seconds to (D, n)
        Relative move from the latency on over the horizon (5, 60 and 300 s, and one interval); NaN
        where it does not end within the session's states. A horizon shorter than the usual time
        between states is left out.
    minutes : float
        Of an interval.

    Examples
    --------
    >>> from research_lib.market import Session, preset
    >>> market, rng = preset("thin_stock", Session(390)), np.random.default_rng(0)
    >>> panel = MidPanel.of(Sessions.drawn(market, 2, 5, rng))
    >>> list(panel.moves), panel.signals.shape
    ([(60.0, 0.0), (300.0, 0.0)], (2, 390, 5))
    """

    start: Any
    names: Sequence[str]
    signals: Float
    moves: Mapping[tuple[float, float], Float]
    minutes: float

    @classmethod
    def of(cls, sessions: Sessions) -> Self:
        """Measured on whole sessions."""
        books, n = sessions.books, sessions.session.n_intervals
        states = books if sessions.states is None else sessions.states
        days = Ladder.of(books, "buy").by_day(n)
        names = [*SIGNALS, "imbalance of all levels", "order flow of the books"]
        columns = [np.concatenate([day.signals for day in days])]
        gap = float(np.median(np.diff(states.time))) / 1e9
        step = float(np.diff(books.time[:n]).min()) / 1e9
        dense = gap < 0.5 * step  # else flows between states are those of the ladder
        for window in [w for w in HORIZONS if w >= gap] if dense else [step]:
            columns.append(_before(states, books, window, flows=dense))
            kinds = ("order flow", "trades", "move")[-columns[-1].shape[1] :]
            names += [f"{kind} over {window:g} s" for kind in kinds]
        signals = np.nan_to_num(np.column_stack(columns)).reshape(len(days), n, -1)
        early = np.arange(n) * step < max(HORIZONS if dense else [step])
        signals[:, early, days[0].signals.shape[1] :] = 0.0  # windows over the night
        # A move ends within its session: no forecast is fitted to the next one's.
        closing = np.searchsorted(states.time, books.time[n - 1 :: n] + round(1e9 * step)) - 1
        last, moves = np.repeat(states.time[closing], n), {}
        for latency in LATENCIES if gap <= 1.0 else LATENCIES[:1]:
            base = books.mid if not latency else mids_after(states, books.time, latency)
            for horizon in sorted({*(h for h in HORIZONS if h >= gap), step}):
                later = mids_after(states, books.time, latency + horizon)
                later[books.time + round(1e9 * (latency + horizon)) > last] = np.nan
                moves[horizon, latency] = (later / base - 1.0).reshape(-1, n)
        return cls(books.time[::n], names, signals, moves, step / 60.0)


def _before(states: BookSnapshots, books: BookSnapshots, window: float, flows: bool) -> Float:
    """Net over gross order flow and trades, and the mid's move, of the window before, (m, 1|3)."""
    since = books.time - np.int64(round(1e9 * window))
    known = np.isfinite(states.mid)
    at = np.searchsorted(states.time[known], [since, books.time], "right") - 1
    old, new = np.where(at >= 0, states.mid[known][at], np.nan)
    found = [np.log(new / old)]
    if flows:
        trades: Any = books.trades
        found.insert(0, _net(states.time[1:], level_flow(states), since, books.time))
        signed = (np.zeros(0, np.int64), np.zeros(0))
        if trades is not None:
            signed = (trades.time, trades.signed_size)
        found.insert(1, _net(*signed, since, books.time))
    return np.column_stack(found)


def _net(time: Any, flow: Float, since: Any, until: Any) -> Float:
    """Sum over sum of magnitudes of what happens in (since, until], in [-1, 1]; 0 for nothing."""
    first, last = np.searchsorted(time, [since, until], "right")
    net, gross = (np.append(0.0, np.cumsum(one)) for one in (flow, np.abs(flow)))
    total = gross[last] - gross[first]
    return np.where(total > 0, net[last] - net[first], 0.0) / np.where(total > 0, total, 1.0)


def mid_forecasts(
    panel: MidPanel, first: int, horizon: float, *, latency: float = 0.0, refit: int = 1,
    window: int = 60,
) -> dict[str, Float]:  # fmt: skip
    """Moves forecast in each session from `first` on by each model and control, (D, n) each.

    Models are fitted on at most `window` earlier sessions and renewed every `refit` sessions: the
    two signals that the strategy report uses, a regression on all, boosting of trees on all.
    Controls are yesterday's moves, and the regression shown the signals of the middle session
    fitted on, or those of an hour before.

    Examples
    --------
    >>> from research_lib.market import Session, preset
    >>> market, rng = preset("thin_stock", Session(390)), np.random.default_rng(0)
    >>> panel = MidPanel.of(Sessions.drawn(market, 3, 5, rng))
    >>> list(mid_forecasts(panel, 2, 60.0))[:2]
    ['two signals (in use)', 'regression']
    """
    moves, signals = panel.moves[horizon, latency], panel.signals
    found = {name: np.full(moves.shape, np.nan) for name in (*MODELS, *CHECKS)}
    lag = round(60.0 / panel.minutes)
    stale = np.zeros_like(signals)  # nothing of today is known in its first hour
    stale[:, lag:] = signals[:, : signals.shape[1] - lag]
    for past, days in rolling(len(moves), first, refit, window):
        own: tuple[list[Float], list[Float]] = [*moves[past]], [*signals[past]]
        two = MidForecast.of(own[0], [one[:, :2] for one in own[1]], "", SIGNALS)
        line, trees = MidForecast.of(*own, "", panel.names), BoostedMid.of(*own)
        shown = signals[days]
        made = [two.expected(shown[:, :, :2]), line.expected(shown)]
        made.append(trees.expected(shown.reshape(-1, shown.shape[2])).reshape(shown.shape[:2]))
        middle = np.broadcast_to(own[1][len(own[1]) // 2], shown.shape)
        made += [moves[np.array(days) - 1], line.expected(middle), line.expected(stale[days])]
        for name, one in zip(found, made, strict=True):
            found[name][days] = one
    return found


def skill(forecast: Float, moves: Float) -> dict[str, float]:
    r"""How well moves (D, n) are forecast, against a forecast of 0.

    .. math:: R^2 = 1 - \sum (m - f)^2 / \sum m^2

    Returns
    -------
    dict
        r2_%, its limits by session (`ratio_interval`, from 20 sessions on), slope of realised on
        forecast (through 0), positive_% (sessions of R2 above 0), n.

    Examples
    --------
    >>> moves = np.random.default_rng(0).normal(size=(3, 100))
    >>> found = skill(0.5 * moves, moves)
    >>> round(found["r2_%"], 9), round(found["slope"], 9), found["positive_%"]
    (75.0, 2.0, 100.0)
    """
    known = np.isfinite(forecast) & np.isfinite(moves)
    f, m = np.where(known, forecast, 0.0), np.where(known, moves, 0.0)
    used = known.any(axis=1)
    gain, total = ((m**2 - (m - f) ** 2).sum(axis=1)[used], (m**2).sum(axis=1)[used])
    found = ratio_interval(gain, total)
    square = float((f**2).sum())
    return {
        "r2_%": found.mean, "lower_%": found.lower, "upper_%": found.upper,
        "slope": float((f * m).sum()) / square if square else np.nan,
        "positive_%": 100.0 * float(np.mean(gain > 0)), "n": int(known.sum()),
    }  # fmt: skip


def skill_table(panel: MidPanel, first: int, refit: int = 1, window: int = 60) -> pd.DataFrame:
    """`skill` of every model and control by horizon, and of the models also by latency.

    Returns
    -------
    DataFrame
        Index (horizon_seconds, latency_seconds, forecast).

    Examples
    --------
    >>> from research_lib.market import Session, preset
    >>> market, rng = preset("thin_stock", Session(390)), np.random.default_rng(0)
    >>> panel = MidPanel.of(Sessions.drawn(market, 3, 5, rng))
    >>> skill_table(panel, 2).loc[(60.0, 0.0, "oracle"), "r2_%"]
    np.float64(100.0)
    """
    rows = {}
    for horizon, latency in tqdm(panel.moves, "forecasts of the mid", leave=False):
        moves = panel.moves[horizon, latency]
        how: dict[str, Any] = {"latency": latency, "refit": refit, "window": window}
        made = mid_forecasts(panel, first, horizon, **how) | {"oracle": moves}
        for name, one in made.items():
            if not latency or name in MODELS:
                rows[horizon, latency, name] = skill(one[first:], moves[first:])
    names = ["horizon_seconds", "latency_seconds", "forecast"]
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(names)


def given_moves(panel: MidPanel, forecasts: Mapping[str, Float]) -> dict[str, GivenMoves]:
    """Forecasts (D, n) for the adaptive strategy, by name; what is unknown is no move.

    Examples
    --------
    >>> panel = MidPanel(np.array([5]), [], np.zeros((1, 2, 0)), {}, 1.0)
    >>> given_moves(panel, {"none": np.zeros((1, 2))})["none"].by_start
    {5: array([0., 0.])}
    """
    starts = [int(at) for at in panel.start]
    return {
        name: GivenMoves(dict(zip(starts, np.nan_to_num(one), strict=True)))
        for name, one in forecasts.items()
    }
