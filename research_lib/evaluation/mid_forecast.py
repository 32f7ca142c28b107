"""Forecasts of the next move of the mid from the displayed book and the last trades."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.linalg import matrix_rank

from research_lib.checks import Float
from research_lib.config import Record
from research_lib.evaluation.executions import Ladder
from research_lib.evaluation.forecast import Trees
from research_lib.market.book import side_sign

SIGNALS = ("imbalance", "order flow")  # of those of a ladder
HAC_LAGS, MIN_CLUSTERS = 10, 10  # intervals of Newey-West; days from which errors cluster by day
MIN_STEPS = 100


@dataclass(frozen=True, eq=False)
class MidForecast(Record):
    r"""Forecast of the mid over the next interval from the displayed book and the last trades.

    .. math:: \frac{m_{t+1} - m_t}{m_t} = \sum_k b_k z_{k,t} + u_t

    by least squares over the intervals of earlier sessions, z the first two signals of `Ladder`
    (imbalance of the best levels; signed over total traded volume of the interval before) or given
    ones, without a constant because a buy mirrors a sell. Errors are clustered by session from ten
    sessions on, else Newey and West's over ten intervals. A coefficient whose 95 % interval
    includes 0 is not identified: it is set to 0 and the others are estimated alone.

    Attributes
    ----------
    coefficients, errors : (k,)
        b and standard errors, as fractions of the mid; 0 and NaN where not identified.
    source : str
        The sessions, or why there is no forecast.

    Examples
    --------
    >>> MidForecast.none("no earlier session").coefficients.tolist()
    [0.0, 0.0]
    """

    coefficients: Float
    errors: Float
    source: str

    @classmethod
    def none(cls, reason: str, n_signals: int = 2) -> Self:
        """No move is forecast."""
        return cls(np.zeros(n_signals), np.full(n_signals, np.nan), reason)

    @classmethod
    def fit(cls, days: Sequence[Ladder], source: str) -> Self:
        """Fit to some days, each one ladder with one book an interval.

        Examples
        --------
        >>> from research_lib.market import Session, SyntheticMarket
        >>> market = SyntheticMarket(session=Session(60))
        >>> books = market.books(12 * 60, 2, np.random.default_rng(0))
        >>> MidForecast.fit(Ladder.of(books, "buy").by_day(60), "12 days").coefficients.tolist()
        [0.0, 0.0]
        """
        sign = 1.0 if days[0].side == "buy" else -1.0
        moves = [sign * np.diff(day.mid) / day.mid[:-1] for day in days]
        return cls.of(moves, [day.signals[:-1, :2] for day in days], source, SIGNALS)

    @classmethod
    def of(
        cls, moves: Sequence[Float], signals: Sequence[Float], source: str, names: Sequence[str]
    ) -> Self:
        """Fit moves (t,) relative to the mid on signals (t, k) called `names`, one pair a day."""
        from statsmodels.regression.linear_model import OLS  # the api takes a second to import

        move, day = np.concatenate(moves), np.repeat(np.arange(len(moves)), [*map(len, moves)])
        known, k = np.concatenate(signals), len(names)
        rows = np.isfinite(move)
        used: list[int] = []
        for j in range(k):  # a signal that never changes, or says what others say, is left out
            added = known[rows][:, [*used, j]]
            if rows.any() and np.ptp(added[:, -1]) > 0 and matrix_rank(added) > len(used):
                used.append(j)
        if rows.sum() < MIN_STEPS or not used:
            return cls.none(f"{rows.sum()} steps of {source} are too few for a forecast", k)
        how: dict[str, Any] = {"cov_type": "HAC", "cov_kwds": {"maxlags": HAC_LAGS}}
        if len(moves) >= MIN_CLUSTERS:
            how = {"cov_type": "cluster", "cov_kwds": {"groups": day[rows]}}
        while used:
            fit = OLS(move[rows], known[rows][:, used]).fit(use_t=True, **how)
            identified = (fit.conf_int() * np.sign(fit.params)[:, None] > 0).all(axis=1)
            if identified.all():
                found, errors = np.zeros(k), np.full(k, np.nan)
                found[used], errors[used] = fit.params, fit.bse
                return cls(found, errors, f"{' and '.join(names[j] for j in used)} of {source}")
            used = [j for j, is_known in zip(used, identified, strict=True) if is_known]
        return cls.none(f"neither {' nor '.join(names)} is identified over {source}", k)

    def expected(self, signals: Float) -> Float:
        """Expected move relative to the mid, (t,), of signals (t, k)."""
        return signals @ self.coefficients

    def moves(self, seen: Ladder) -> Float:
        """Expected move against the order in the next interval, (t,) currency; NaN: no mid."""
        return seen.mid * self.expected(seen.signals[:, : len(self.coefficients)])


@dataclass(frozen=True, eq=False)
class BoostedMid(Record):
    """Gradient boosting of trees in the place of the line of `MidForecast` (scikit-learn).

    Examples
    --------
    >>> z = np.random.default_rng(0).normal(size=(2, 500, 1))
    >>> found = BoostedMid.of(np.abs(z[:, :, 0]), z)
    >>> bool(found.expected(np.array([[-1.5]]))[0] > 1.0)  # no linear model does
    True
    """

    trees: Trees
    scale: float

    @classmethod
    def of(cls, moves: Sequence[Float], signals: Sequence[Float]) -> Self:
        """Fit moves (t,) relative to the mid on signals (t, k), one pair a day; NaN is left out."""
        move, known = np.concatenate(moves), np.concatenate(signals)
        rows = np.isfinite(move)
        scale = float(np.std(move[rows])) or 1.0  # the trees' tolerances are absolute
        how = {"max_leaf_nodes": 8, "learning_rate": 0.05}
        return cls(Trees.grown(known[rows], move[rows] / scale, **how), scale)

    def expected(self, signals: Float) -> Float:
        """Expected move relative to the mid, (t,), of signals (t, k)."""
        return self.scale * self.trees.predict(signals)


@dataclass(frozen=True, eq=False)
class GivenMoves(Record):
    """Moves of the mid forecast beforehand, session by session, in the place of a `MidForecast`.

    Attributes
    ----------
    by_start : mapping of a session's first time (int64 ns) to (n,)
        Expected moves over the next interval relative to the mid.

    Examples
    --------
    >>> from research_lib.market import Session, preset
    >>> books = preset("thin_stock", Session(13)).books(13, 5, np.random.default_rng(0))
    >>> given = GivenMoves({int(books.time[0]): np.full(13, 1e-4)})
    >>> move = given.moves(Ladder.of(books, "sell"))
    >>> bool(np.allclose(move, -1e-4 * books.mid))
    True
    """

    by_start: Mapping[int, Float]

    def moves(self, seen: Ladder) -> Float:
        """Expected move against the order in the next interval, (t,) currency."""
        return side_sign(seen.side) * seen.mid * self.by_start[int(seen.time[0])][: len(seen)]
