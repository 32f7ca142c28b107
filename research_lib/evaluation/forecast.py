"""Forecasts of spread, depth, volume and volatility through a session, by one interface."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Self

import numpy as np

from research_lib.checks import Float, number
from research_lib.config import Record
from research_lib.errors import InsufficientDataError, ValidationError
from research_lib.evaluation.executions import Ladder
from research_lib.evaluation.shapes import smooth
from research_lib.market.sessions import Int64

# A session's own level, its half-lives in intervals: minutes ago, and most of an hour.
FAST, SLOW = 4.0, 40.0
AHEAD = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256)  # intervals ahead that a regression is fitted on
MAX_ROWS = 50_000  # of a regression: more change its fit little and the time much
EFFECTS = (1.0, 5.0, 30.0)  # half-lives of a regressor's effect, intervals ahead
RIDGE = 1e-3  # of the mean square of a regressor: collinear ones stay finite
BANDWIDTH = 0.05  # of a profile of one session, as of `LiquidityProfile`
MIN_VARIANCE = 1e-8  # variance of log y around the profile below which there is nothing to fit
CALIBRATED = 1.0 / 3.0  # of the earlier sessions, the last ones, which quantiles are measured on


@dataclass(frozen=True, eq=False)
class Forecast(Record, ABC):
    r"""A forecast of a positive quantity y through a session, by its logarithm.

    It is fitted to earlier sessions. Within a session row t of `paths` is made at the start of
    interval t, before y_t is known, and forecasts every interval from t on:

    .. math:: F_{ts} = E[\log y_s \mid y_0, ..., y_{t-1}, z_0, ..., z_t], \qquad s \ge t

    with features z known at the start of an interval. Its exponential is above 0 by construction,
    and not below `floor`; a y below the floor, such as a volume of 0, counts as the floor.

    Attributes
    ----------
    floor : float
        In the unit of y, such as half a tick for a half-spread; 0 for the least y above 0 of the
        sessions fitted to.
    profile : (n,)
        Mean of log y by interval over these sessions, smoothed over 5 % of the session for one of
        them, over less for more.
    centre : (k,)
        Means of the features, which stand for unknown ones.
    errors : (m,)
        Sorted errors of log y one interval ahead, in sessions that were held out: see `calibrated`.
    """

    floor: float = 0.0
    profile: Float = field(default_factory=lambda: np.zeros(0))
    centre: Float = field(default_factory=lambda: np.zeros(0))
    errors: Float = field(default_factory=lambda: np.zeros(0))

    @property
    @abstractmethod
    def name(self) -> str:
        """Name in tables."""

    def fit(self, history: Float, features: Float | None = None) -> Self:
        """Fitted to earlier sessions.

        Parameters
        ----------
        history : (D, n)
            y of earlier sessions; NaN and what is below 0 is unknown.
        features : (D, n, k), optional
            NaN is unknown.

        Raises
        ------
        InsufficientDataError
            Nothing is known. An interval that is unknown in every session takes what lies between
            its neighbours.
        """
        values = np.asarray(history, float)
        lowest = self.floor or float(np.min(values, initial=np.inf, where=values > 0))
        log = _logs(values, lowest)
        known = np.isfinite(log)
        if not (ever := known.any(axis=0)).any():
            raise InsufficientDataError(f"nothing is known of {len(log)} sessions to forecast from")
        means = smooth(log[:, ever], BANDWIDTH / len(log))
        profile = np.interp(np.arange(log.shape[1]), np.flatnonzero(ever), means)
        given = np.zeros((*log.shape, 0)) if features is None else np.asarray(features, float)
        weight = np.isfinite(given).sum(axis=(0, 1))
        centre = np.nansum(given, axis=(0, 1)) / np.maximum(weight, 1)
        seen = replace(self, floor=lowest, profile=profile, centre=centre)
        return seen._fitted(*seen._inputs(values, features))

    def calibrated(self, history: Float, features: Float | None = None) -> Self:
        """Fitted, with the `errors` of the last third of the sessions by a fit to the others."""
        first = len(history) - max(round(CALIBRATED * len(history)), 1)
        if not first:
            return self.fit(history, features)
        given = [None] * len(history) if features is None else features
        early = self.fit(history[:first], None if features is None else features[:first])
        late = [early.errors_of(history[d], given[d]) for d in range(first, len(history))]
        errors = np.concatenate(late)
        return replace(self.fit(history, features), errors=np.sort(errors[np.isfinite(errors)]))

    def updated(self, history: Float, features: Float | None = None) -> Self:
        """With what earlier sessions (D, n) say of the next one, the parameters as they are."""
        return self

    def paths(self, today: Float, features: Float | None = None) -> Float:
        """F, (n, n) of a session y (n,), NaN below its diagonal; row t does not use y_t or later.

        Where y is unknown the forecast goes on without it.
        """
        rows, found = np.triu_indices(len(self.profile)), np.full((len(self.profile),) * 2, np.nan)
        found[rows] = self._made(today, features, *rows)
        return found

    def ahead(self, today: Float, features: Float | None = None) -> Float:
        """The forecast of log y one interval ahead, (n,): the diagonal of `paths`."""
        return self._made(today, features, *[np.arange(len(self.profile))] * 2)

    def errors_of(self, today: Float, features: Float | None = None) -> Float:
        """log y less its forecast one interval ahead, (n,)."""
        return _logs(np.asarray(today, float), self.floor) - self.ahead(today, features)

    def _made(self, today: Float, features: Float | None, t: Int64, s: Int64) -> Float:
        """F_ts, (m,)."""
        later = self._later(*self._inputs(today, features), t, s)
        return np.maximum(self.profile[s] + later, np.log(self.floor))

    def _inputs(self, today: Float, features: Float | None) -> tuple[Float, Float]:
        """Residuals of sessions (..., n), and their features less the means, (..., n, k)."""
        log, n = _logs(np.asarray(today, float), self.floor), len(self.profile)
        if log.shape[-1] != n:
            raise ValidationError(
                f"a session has {log.shape[-1]} values, the profile {n}; sample both alike"
            )
        given = np.zeros((*log.shape, 0)) if features is None else np.asarray(features, float)
        return log - self.profile, np.nan_to_num(given - self.centre)

    def quantiles(
        self, today: Float, levels: Sequence[float], features: Float | None = None
    ) -> Float:
        r"""Quantiles of y one interval ahead, (levels, n), by conformal prediction.

        .. math:: \log q_t(a) = F_{tt} + e_{(\lceil (m + 1) a \rceil)}

        with e the m sorted `errors`; infinite where m is too small. If the errors of all intervals
        are exchangeable, y_t lies below with a chance of about a (Vovk, Gammerman and Shafer,
        2005). Errors that a session has in common lower the coverage, the more the fewer sessions
        were held out. Needs `calibrated`.

        Parameters
        ----------
        today, features
            As of `paths`.
        levels : sequence of float
            In (0, 1].
        """
        ahead = self.ahead(today, features)
        return np.exp(ahead + np.array([[_ranked(self.errors, level)] for level in levels]))

    def _fitted(self, residuals: Float, features: Float) -> Self:
        """With the model's own parameters; `residuals` (D, n) are log y less the profile."""
        return self

    @abstractmethod
    def _later(self, residual: Float, features: Float, t: Int64, s: Int64) -> Float:
        """Residuals expected at t of intervals s, (m,), by the session's own (n,)."""


class SessionProfile(Forecast):
    """The mean session, whatever today was like so far.

    Examples
    --------
    >>> found = SessionProfile().fit(np.exp([[0.0, 1.0], [2.0, 3.0]]))
    >>> found.paths(np.array([9.0, 9.0])).tolist()
    [[1.0, 2.0], [nan, 2.0]]
    """

    name = "profile"

    def _later(self, residual: Float, features: Float, t: Int64, s: Int64) -> Float:
        return np.zeros(len(t))


class ScaledProfile(Forecast):
    r"""The profile moved by what today was so far: the mean of its residuals, shrunk.

    .. math:: F_{ts} = \phi_s + \frac{\sum_{k < t} w_{t-k} e_k}{1 + \sum_{k < t} w_{t-k}}

    with phi the profile, e the residuals, and weights w that halve every forty intervals.

    Examples
    --------
    >>> found = ScaledProfile().fit(np.ones((3, 4)))
    >>> found.paths(np.exp([1.0, 1.0, 1.0, 1.0]))[:, 3].round(2).tolist()
    [0.0, 0.5, 0.66, 0.75]
    """

    name = "scaled profile"

    def _later(self, residual: Float, features: Float, t: Int64, s: Int64) -> Float:
        return _levels(residual, SLOW)[t]


@dataclass(frozen=True, eq=False)
class StateSpace(Forecast):
    r"""Session and intraday components plus noise, by the Kalman filter.

    .. math:: \log y_{dt} = \phi_t + \eta_d + \mu_{dt} + v_{dt}, \quad
        \eta_{d+1} = a \eta_d + \epsilon_d, \quad \mu_{t+1} = b \mu_t + \xi_t

    Attributes
    ----------
    params : (5,)
        a, b, and the variances of epsilon, xi and v.
    state, variance : (2,), (2, 2)
        Of eta and mu at the start of the next session.

    References
    ----------
    Brownlees, C. T., Cipollini, F. and Gallo, G. M. (2011), "Intra-daily volume modeling and
    prediction for algorithmic trading", Journal of Financial Econometrics 9(3), 489-518; in the
    linear form of Chen, R., Feng, Y. and Palomar, D. (2016), "Forecasting intraday trading volume:
    a Kalman filter approach". Estimated by maximum likelihood (statsmodels).

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> level = np.repeat(rng.normal(0.0, 0.5, 60), 13) + rng.normal(0.0, 0.1, 780)
    >>> found = StateSpace().fit(np.exp(level.reshape(60, 13)))
    >>> bool(0.15 < found.params[2] < 0.40)  # the variance of the session's own level, 0.25
    True
    """

    params: Float = field(default_factory=lambda: np.zeros(5))
    state: Float = field(default_factory=lambda: np.zeros(2))
    variance: Float = field(default_factory=lambda: np.zeros((2, 2)))
    name = "state space"

    def _fitted(self, residuals: Float, features: Float) -> Self:
        if np.nanvar(residuals) < MIN_VARIANCE:
            return replace(self, params=np.array([0.0, 0.0, 0.0, 0.0, 1.0]))
        model = _kalman(residuals.ravel(), residuals.shape[1])
        # A variance that goes to 0 has no maximum to converge to; the filter is right all the same.
        fit = model.fit(disp=0, maxiter=200, cov_type="none", warn_convergence=False)
        params = np.array([*np.tanh(0.5 * fit.params[:2]), *np.exp(fit.params[2:])])
        return replace(self, params=params)._after(residuals)

    def updated(self, history: Float, features: Float | None = None) -> Self:
        """With the components at the end of these sessions."""
        return self._after(self._inputs(history, features)[0])

    def _after(self, residuals: Float) -> Self:
        """With the components after residuals (D, n) of earlier sessions."""
        a, b, q_eta, q_mu, _ = self.params
        first = q_eta / max(1.0 - a**2, 1e-6), q_mu / max(1.0 - b**2, 1e-6)
        state, variance = np.zeros(2), np.diag(first)  # stationary
        turn, noise = np.diag([a, 1.0]), np.diag([q_eta, 0.0])
        for residual in residuals:
            _, state, variance = self._filtered(residual, state, variance)
            state, variance = turn @ state, turn @ variance @ turn + noise
        return replace(self, state=state, variance=variance)

    def _filtered(
        self, residual: Float, state: Float, variance: Float
    ) -> tuple[Float, Float, Float]:
        """Components before each interval, (n, 2), and after the session, with their variance."""
        _, b, _, q, r = self.params
        states, turn, noise = np.zeros((len(residual), 2)), np.diag([1.0, b]), np.diag([0.0, q])
        for t, value in enumerate(residual):
            states[t] = state
            if np.isfinite(value):
                total = variance.sum() + r
                gain = variance.sum(axis=1) / total
                state = state + gain * (value - state.sum())
                variance = variance - total * np.outer(gain, gain)
            state, variance = turn @ state, turn @ variance @ turn + noise
        return states, state, variance

    def _later(self, residual: Float, features: Float, t: Int64, s: Int64) -> Float:
        states, *_ = self._filtered(residual, self.state, self.variance)
        return states[t, 0] + states[t, 1] * self.params[1] ** (s - t)


def _kalman(values: Float, n: int) -> Any:
    """The model of residuals (D n,), sessions of n."""
    from statsmodels.tsa.statespace.mlemodel import MLEModel

    last = np.arange(len(values)) % n == n - 1  # a transition to the next session

    class Components(MLEModel):
        start_params = np.array([2.0, 2.0, -3.0, -3.0, -3.0])
        param_names = ("a", "b", "log q_eta", "log q_mu", "log r")

        def update(self, params: Float, **how: Any) -> None:
            a, b = np.tanh(0.5 * params[:2])
            turn, noise = np.zeros((2, 2, self.nobs)), np.zeros((2, 2, self.nobs))
            turn[0, 0], turn[1, 1] = np.where(last, a, 1.0), b
            q_eta, q_mu, r = np.exp(np.clip(params[2:], -30.0, 10.0))
            noise[0, 0], noise[1, 1] = np.where(last, q_eta, 0.0), q_mu
            self.ssm["transition"], self.ssm["state_cov"] = turn, noise
            self["obs_cov", 0, 0] = r

    how = {"initialization": "approximate_diffuse", "initial_variance": 10.0}
    model = Components(values, k_states=2, **how)
    model["design"], model["selection"] = np.ones((1, 2)), np.eye(2)
    return model


@dataclass(frozen=True, eq=False)
class Regression(Forecast):
    """Least squares of the residual h intervals ahead on what is known now.

    Regressors are the last residual, the session's own level with half-lives of 4 and 40 intervals
    (see `ScaledProfile`), and the features; each also stands multiplied by weights that halve every
    1, 5 and 30 intervals of h, since what is known now says less of later.

    Attributes
    ----------
    params : (p,)
        Coefficients.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> signal = np.repeat(rng.normal(size=(30, 1, 1)), 40, axis=1)  # of the whole session
    >>> found = Regression().fit(np.exp(0.5 * signal[:, :, 0]), signal)
    >>> path = found.paths(np.full(40, np.exp(0.5)), np.ones((40, 1)))
    >>> path[5, [5, 39]].round(1).tolist()
    [0.5, 0.5]
    """

    params: Any = None
    name = "regression"

    def _fitted(self, residuals: Float, features: Float) -> Self:
        x, y = _rows(residuals, features, self._design)
        square = x.T @ x
        square[np.diag_indices_from(square)] *= 1.0 + RIDGE
        return replace(self, params=np.linalg.lstsq(square, x.T @ y)[0])

    def _design(self, now: Float, ahead: Any, place: Any) -> Float:
        kept = [*(2.0 ** (-ahead / half) for half in EFFECTS), np.ones(len(now))]
        return np.concatenate([now * one[:, None] for one in kept], axis=1)

    def _predicted(self, x: Float) -> Float:
        return np.asarray(x @ self.params)

    def _later(self, residual: Float, features: Float, t: Int64, s: Int64) -> Float:
        now = _known_now(residual, features)
        return self._predicted(self._design(now[t], 1.0 * (s - t), s / len(residual)))


@dataclass(frozen=True, eq=False)
class Boosting(Regression):
    """Gradient boosting of trees on what `Regression` knows, by quantile loss (scikit-learn).

    Point forecasts are medians. Quantiles come from trees of their own for each level, and are then
    moved by the conformal rank of their errors (Romano, Patterson and Candes, 2019).

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> signal = rng.normal(size=(30, 40, 1))
    >>> found = Boosting().fit(np.exp(np.abs(signal[:, :, 0])), signal)
    >>> bool(found.paths(np.ones(40), 2 * np.ones((40, 1)))[5, 5] > 0.9)  # no linear model does
    True
    """

    level: float = 0.5
    name = "boosting"

    def _fitted(self, residuals: Float, features: Float) -> Self:
        x, y = _rows(residuals, features, self._design)
        size = {"max_leaf_nodes": 15, "min_samples_leaf": 40}
        return replace(self, params=Trees.grown(x, y, loss="quantile", quantile=self.level, **size))

    def _design(self, now: Float, ahead: Any, place: Any) -> Float:
        return np.column_stack([now, ahead, place])

    def _predicted(self, x: Float) -> Float:
        return self.params.predict(x)


class Trees(NamedTuple):
    """Gradient boosting of sixty regression trees in one thread.

    Threads of scikit-learn spin where the cores are busy, and are then 20 times as slow.

    Examples
    --------
    >>> x = np.linspace(-1.0, 1.0, 200)[:, None]
    >>> Trees.grown(x, np.sign(x[:, 0])).predict(np.array([[-0.5], [0.5]])).round(1).tolist()
    [-1.0, 1.0]
    """

    found: Any

    @classmethod
    def grown(cls, x: Float, y: Float, **how: Any) -> Self:
        """Fitted to targets y (m,) of regressors x (m, k); `how` is of scikit-learn."""
        from sklearn.ensemble import HistGradientBoostingRegressor
        from threadpoolctl import threadpool_limits

        same: Any = {"max_iter": 60, "early_stopping": False, "random_state": 0}
        with threadpool_limits(1):
            return cls(HistGradientBoostingRegressor(**same, **how).fit(x, y))

    def predict(self, x: Float) -> Float:
        """Of regressors (m, k), (m,)."""
        from threadpoolctl import threadpool_limits

        with threadpool_limits(1):
            return np.asarray(self.found.predict(x), float)


FORECASTS: tuple[Forecast, ...] = (
    SessionProfile(), ScaledProfile(), StateSpace(), Regression(), Boosting(),
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Liquidity(Record):
    """Half-spread and depth of the rest of a session by two forecasts, for `Adaptive`.

    Attributes
    ----------
    spread, depth : Forecast
        Fitted; their features are `book_features` of the book before.

    Examples
    --------
    >>> from research_lib.market import Session, preset
    >>> books = preset("thin_stock", Session(13)).books(65, 5, np.random.default_rng(0))
    >>> days = Ladder.of(books, "buy").by_day(13)
    >>> found = Liquidity.fit(days, ScaledProfile())
    >>> [path.shape for path in found.paths(days[0], 13)]
    [(13, 13), (13, 13)]
    """

    spread: Forecast
    depth: Forecast

    @classmethod
    def fit(cls, days: Sequence[Ladder], kind: Forecast, tick: float = 0.0) -> Self:
        """Both by forecasts of one kind, fitted to some days; no half-spread below half a tick."""
        spread, depth, known = (np.array(one) for one in zip(*map(_seen, days), strict=True))
        by_spread = replace(kind, floor=0.5 * tick).fit(spread, known)
        return cls(by_spread, replace(kind, floor=0.0).fit(depth, known))

    def shifted(self, shift: int) -> Self:
        """The same with the clock of the profiles moved by some intervals."""
        models = (self.spread, self.depth)
        spread, depth = (replace(one, profile=np.roll(one.profile, -shift)) for one in models)
        return type(self)(spread, depth)

    def updated(self, days: Sequence[Ladder]) -> Self:
        """The same with what some earlier days say of the next one, see `Forecast.updated`."""
        spread, depth, known = (np.array(one) for one in zip(*map(_seen, days), strict=True))
        return type(self)(self.spread.updated(spread, known), self.depth.updated(depth, known))

    def paths(self, seen: Ladder, n_intervals: int) -> tuple[Float, Float]:
        """Log half-spread and depth of the day's n intervals, (t, n) each; row k uses books 0 to k.

        Of an interval up to k it is the forecast made before its book was seen.
        """
        n, late = n_intervals, n_intervals - len(seen)
        spread, depth, features = (
            np.pad(one, [(0, late), *[(0, 0)] * (one.ndim - 1)], constant_values=np.nan)
            for one in _seen(seen)
        )
        if late:  # the book seen last says something of the next
            features[len(seen)] = book_features(seen)[-1]
        at, found = np.arange(len(seen)), []
        for model, values in ((self.spread, spread), (self.depth, depth)):
            ahead = model.paths(values, features)
            known = np.arange(n) <= at[:, None]
            found.append(np.where(known, np.diag(ahead), ahead[np.minimum(at + 1, n - 1)]))
        return found[0], np.exp(found[1])


def book_features(day: Ladder) -> Float:
    """What a book says of liquidity, (n, 10): the signals, their sizes, log half-spread and depth.

    Examples
    --------
    >>> from research_lib.market import Session, preset
    >>> books = preset("thin_stock", Session(13)).books(13, 5, np.random.default_rng(0))
    >>> book_features(Ladder.of(books, "buy")).shape
    (13, 10)
    """
    size = (_logs(np.where(one > 0, one, np.nan), 0.0) for one in (day.half_spread, day.depth))
    return np.column_stack([day.signals, np.abs(day.signals), *size])


def one_earlier(features: Float) -> Float:
    """Features (n, k) shifted by one interval, the first unknown: of the book before."""
    return np.vstack([np.full((1, features.shape[1]), np.nan), features[:-1]])


def _seen(day: Ladder) -> tuple[Float, Float, Float]:
    """Half-spread and depth, (n,), NaN without a mid, and features (n, k) of the book before."""
    quoted = np.isfinite(day.mid)
    spread, depth = (np.where(quoted, one, np.nan) for one in (day.half_spread, day.depth))
    return spread, depth, one_earlier(book_features(day))


def _logs(values: Float, floor: float) -> Float:
    """Logarithms of (...) values of at least 0, those below the floor as the floor; else NaN."""
    return np.log(np.where(values >= 0, np.maximum(values, floor), np.nan))


def _levels(residual: Float, half_life: float) -> Float:
    """The mean of the residuals (n,) before each interval, shrunk to 0 by one observation, (n,)."""
    from scipy.signal import lfilter

    keep, known = 0.5 ** (1.0 / half_life), np.isfinite(residual)
    seen = np.stack([np.where(known, residual, 0.0), known])
    total, weight = lfilter([0.0, 1.0], [1.0, -keep], seen)
    return np.asarray(total / (1.0 + weight))


def _known_now(residual: Float, features: Float) -> Float:
    """What is known at the start of each interval, (n, 3 + k): last, fast, slow, features."""
    last = np.nan_to_num(np.append(0.0, residual[:-1]))
    return np.column_stack([last, _levels(residual, FAST), _levels(residual, SLOW), features])


def _rows(residuals: Float, features: Float, design: Any) -> tuple[Float, Float]:
    """Regressors and residuals h intervals later, of all sessions; every m-th of too many."""
    n, parts, targets = residuals.shape[1], [], []
    for residual, own in zip(residuals, features, strict=True):
        now = _known_now(residual, own)
        for h in (h for h in AHEAD if h < n):
            at = np.flatnonzero(np.isfinite(residual[h:]))
            parts.append((now[at], np.full(len(at), float(h)), (at + h) / n))
            targets.append(residual[h:][at])
    now, ahead, place = (np.concatenate(one) for one in zip(*parts, strict=True))
    step = -(-len(now) // MAX_ROWS)
    return design(now[::step], ahead[::step], place[::step]), np.concatenate(targets)[::step]


def _ranked(errors: Float, level: float) -> float:
    """The ceil((m + 1) level)-th smallest of m sorted errors; infinite where there is none."""
    rank = int(np.ceil((len(errors) + 1) * number("each of levels", level, above=0, high=1) - 1e-9))
    return float(errors[rank - 1]) if rank <= len(errors) else float("inf")
