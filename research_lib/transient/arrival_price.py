"""The parameters of Almgren and Chriss, measured on books and trades."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from research_lib.checks import number
from research_lib.config import Record
from research_lib.errors import ValidationError
from research_lib.impact import ImpactCurve, ImpactFit, LinearImpact
from research_lib.market import BookSnapshots, Session
from research_lib.transient.propagator import long_run_sum

Float = NDArray[np.float64]
Int64 = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class ArrivalPriceParameters(Record):
    """What `almgren_chriss` needs to know of a market, with standard errors.

    Attributes
    ----------
    volatility, volatility_error : currency per share per sqrt(time)
    temporary, temporary_error : (n,) currency per share per (share per time)
        eta_t = beta_t tau of the linear impact; the error is NaN where the curve came without a
        fit.
    permanent, permanent_error : currency per share**2
        gamma at the longest horizon; NaN without signed trades.
    half_spread : float
        Mean of the intervals, currency per share.
    interval : float
        tau.
    response : DataFrame, index horizon (intervals)
        permanent, error, r2, windows: how gamma changes as the windows grow. What fades is not
        permanent.
    variance_ratio : float
        Variance over the longest horizon against that of one interval times its length; 1 for a
        random walk.
    signed_share : float
        Part of the traded shares whose aggressor is known, in [0, 1]; NaN without trades.

    Examples
    --------
    >>> from research_lib.market import OrderFlow, thin_stock
    >>> session = Session(78)
    >>> books = thin_stock(session).books(156, 2, np.random.default_rng(7), flow=OrderFlow())
    >>> curve = LinearImpact(np.full(78, 2e-5), 0.02)
    >>> found = calibrate_almgren_chriss(books, curve, session, interval=0.5)
    >>> round(found.market()["temporary"], 9), found.half_spread, found.signed_share
    (1e-05, 0.02, 1.0)
    """

    volatility: float
    volatility_error: float
    temporary: Float
    temporary_error: Float
    permanent: float
    permanent_error: float
    half_spread: float
    interval: float
    response: pd.DataFrame
    variance_ratio: float
    signed_share: float

    def market(self, varying: bool = False) -> dict[str, Any]:
        """The arguments of `almgren_chriss`.

        Parameters
        ----------
        varying : bool
            Temporary impact of each interval in place of its mean.

        Raises
        ------
        ValidationError
            Permanent impact that could not be measured. Measured below 0, it enters as 0.
        """
        if np.isnan(self.permanent):
            raise ValidationError(
                "permanent impact is not known: no signed trades; give permanent yourself"
            )
        return {
            "volatility": self.volatility,
            "temporary": self.temporary if varying else float(self.temporary.mean()),
            "permanent": max(self.permanent, 0.0),
            "half_spread": self.half_spread,
            "interval": self.interval,
        }


def calibrate_almgren_chriss(
    books: BookSnapshots,
    fit: ImpactFit | ImpactCurve,
    session: Session,
    *,
    interval: float = 1.0,
    horizons: Sequence[int] = (1, 5, 15, 30),
) -> ArrivalPriceParameters:
    r"""Measure sigma, eta and gamma on sampled books, their trades, and a linear impact.

    .. math:: \hat\sigma^2 = \frac{\overline{(m_{k+1} - m_k)^2}}{\tau}, \qquad
              \hat\eta_t = \hat\beta_t \tau, \qquad
              m_{k+H} - m_k = c + \gamma \, Q_{k,k+H} + \mathrm{noise}

    A child order of x shares that walks the book costs beta x^2 beyond the half-spread, which
    Almgren and Chriss write (eta / tau) x^2. Q is the signed volume (buyers' less sellers') of the
    H intervals over which the mid m moved. At H = 1 gamma holds whatever transient impact has not
    faded yet; at long horizons that washes out, and the error grows: Bartlett weights (Newey-West)
    reach over 2 H windows, for windows of H intervals overlap, and never over a night.

    Parameters
    ----------
    books : BookSnapshots
        One an interval, as `sample` gives them, with `trades`.
    fit : ImpactFit or LinearImpact
        Of the linear form; a level-1 book, which shows no impact, has none to give.
    session : Session
        Windows stay inside its days.
    interval : float
        tau, the length of an interval in the unit of time wanted.
    horizons : intervals
        H, ascending.

    Returns
    -------
    ArrivalPriceParameters

    Raises
    ------
    ValidationError
        Another form than the linear one, books without two neighbouring mids in a day, horizons out
        of order.

    Examples
    --------
    >>> from research_lib.market import OrderFlow, thin_stock
    >>> session = Session(78)
    >>> books = thin_stock(session).books(156, 2, np.random.default_rng(7), flow=OrderFlow())
    >>> curve = LinearImpact(np.full(78, 2e-5), 0.02)
    >>> found = calibrate_almgren_chriss(books, curve, session, horizons=(1, 5))
    >>> found.response["windows"].to_dict()
    {1: 154, 5: 146}
    """
    curve = fit.curve if isinstance(fit, ImpactFit) else fit
    if not isinstance(curve, LinearImpact):
        raise ValidationError(
            f"eta is the slope of a linear impact, got {type(curve).__name__}; "
            "fit model_type='linear'"
        )
    tau = number("interval", interval, above=0)
    spans = [number("horizons", span, 1, integer=True) for span in horizons]
    if not spans or spans != sorted(set(spans)):
        raise ValidationError(f"horizons must ascend, got {list(horizons)}")
    day = np.unique(session.days(books.time), return_inverse=True)[1]
    steps, long = (_moves(books.mid, day, span)[0] for span in (1, spans[-1]))
    if len(steps) < 2:
        raise ValidationError(
            f"{len(books)} books hold {len(steps)} moves of the mid within a day, 2 are needed"
        )
    flow, signed_share = _signed_volume(books)
    rows = [_response(books.mid, flow, day, span) for span in spans]
    response = pd.DataFrame(rows, index=pd.Index(spans, name="horizon"))
    squares = steps**2
    sigma = float(np.sqrt(squares.mean() / tau))
    error = float(squares.std() / np.sqrt(len(squares)) / (2.0 * tau * sigma)) if sigma else 0.0
    ratio = (
        float(np.mean(long**2) / (spans[-1] * squares.mean())) if sigma and len(long) else np.nan
    )
    bse = fit.bse["beta"].to_numpy() if isinstance(fit, ImpactFit) else np.full(len(curve), np.nan)
    return ArrivalPriceParameters(
        volatility=sigma,
        volatility_error=error,
        temporary=curve.beta * tau,
        temporary_error=bse * tau,
        permanent=float(response["permanent"].iloc[-1]),
        permanent_error=float(response["error"].iloc[-1]),
        half_spread=float(curve.half_spread.mean()),
        interval=tau,
        response=response,
        variance_ratio=ratio,
        signed_share=signed_share,
    )


def _signed_volume(books: BookSnapshots) -> tuple[Float, float]:
    """Signed shares between each book and the next, (n,), the last open-ended; part signed.

    NaN, NaN where the books come without a signed trade.
    """
    trades = books.trades
    if trades is None or not np.any(trades.aggressor):
        return np.full(len(books), np.nan), np.nan
    at = np.searchsorted(books.time, trades.time, side="right") - 1
    inside = at >= 0
    flow = np.bincount(at[inside], weights=trades.signed_size[inside], minlength=len(books))
    return np.asarray(flow, float), float(np.abs(trades.signed_size).sum() / trades.size.sum())


def _moves(mid: Float, day: Int64, span: int) -> tuple[Float, NDArray[np.bool_]]:
    """Moves of the mid over `span` intervals of one day, and which of (n - span,) they are."""
    move = mid[span:] - mid[:-span] if span < len(mid) else np.empty(0)
    kept = np.isfinite(move) & (day[span:] == day[:-span])
    return move[kept], kept


def _response(mid: Float, flow: Float, day: Int64, span: int) -> dict[str, float]:
    """Slope of the mid's moves over `span` intervals against their signed volume.

    Its error is added up day by day.
    """
    import statsmodels.api as sm

    move, kept = _moves(mid, day, span)
    windows = np.convolve(flow, np.ones(span), "valid")[: len(kept)] if len(kept) else np.empty(0)
    sums = windows[kept]
    if len(move) < 3 * span or not np.ptp(sums) > 0:
        return {"permanent": np.nan, "error": np.nan, "r2": np.nan, "windows": len(move)}
    fitted = sm.OLS(move, sm.add_constant(sums)).fit()
    scores = np.zeros((len(kept), 2))
    scores[kept] = fitted.model.exog * fitted.resid[:, None]
    nights = np.flatnonzero(np.diff(day[: len(kept)])) + 1
    meat = sum(long_run_sum(within, 2 * span + 1) for within in np.split(scores, nights))
    bread = fitted.normalized_cov_params
    return {
        "permanent": float(fitted.params[1]),
        "error": float(np.sqrt((bread @ meat @ bread)[1, 1])),
        "r2": float(fitted.rsquared),
        "windows": len(move),
    }
