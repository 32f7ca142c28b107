"""`ImpactModel`: from books to a fitted curve, the first half of the facade."""

import dataclasses
import logging
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from research_lib import checks
from research_lib.checks import Float, number, refuse_unknown, require_columns, require_numbers
from research_lib.config import ModelConfig
from research_lib.errors import ModelFittingError, ValidationError
from research_lib.impact import ImpactCurve, ImpactFit, fit_impact, slippage_curves
from research_lib.impact.estimation import MODEL_TYPES
from research_lib.impact.slippage import LONGEST_INTERVALS, checked_sizes, count_intervals
from research_lib.market import BookSnapshots, Session, SyntheticMarket
from research_lib.market.book import FRAME_COLUMNS
from research_lib.market.sessions import as_session
from research_lib.monitoring import require_memory, timed

logger = logging.getLogger(__name__)

# Measured peaks (tests/test_facade.py holds them): bytes per (snapshot, side, level) of drawing
# books and framing them, of a frame's arrays, per row of that frame, and per (snapshot, side,
# trade size) of walking and framing.
BOOK_BYTES_A_ROW = 110
ARRAY_BYTES_A_LEVEL = 40
FRAME_BYTES_A_ROW = 125  # measured: a frame of 200,000 rows is read within 115 bytes a row
SLIPPAGE_BYTES_A_ROW = 260
DEFAULT_SIZES = 10


class ImpactModel:
    """Estimate what trading x shares costs in each interval.

    Parameters
    ----------
    model_type : str
        Family of impact: "linear", "nonlinear", "power", "sqrt" or "piecewise".
    config : ModelConfig, optional
    session : Session, optional
        Hours and time zone of the exchange, 09:30-16:00 America/New_York by default; its
        n_intervals is not used.

    Examples
    --------
    >>> model = ImpactModel("linear")
    >>> fit = model.fit_model(model.estimate_slippage(model.generate_synthetic_orderbook()))
    >>> len(model.curve)
    390
    """

    def __init__(
        self, model_type: str = "linear", config: ModelConfig | None = None,
        session: Session | None = None,
    ) -> None:  # fmt: skip
        refuse_unknown([model_type], MODEL_TYPES, "model_type")
        self.model_type = model_type
        self.config = config or ModelConfig()
        self.session = as_session(session)
        if not isinstance(self.config, ModelConfig):
            raise ValidationError(f"config must be a ModelConfig, got {type(config).__name__}")
        self.fit: ImpactFit | None = None
        self._n_intervals: int | None = None

    @property
    def curve(self) -> ImpactCurve:
        """The fitted curve, one an interval; `fit_model` comes first."""
        if self.fit is None:
            raise ModelFittingError("the model has no curve yet; call fit_model(slippage) first")
        return self.fit.curve

    @timed("generate_synthetic_orderbook")
    def generate_synthetic_orderbook(
        self, n_snapshots: int = 390, n_levels: int = 20, *, seed: int = 0
    ) -> pd.DataFrame:
        """Books of a `SyntheticMarket` as a long frame: time, side, price, size, level.

        Up to 390 snapshots are spread evenly over one session; further ones follow minute by minute
        on the next business days.

        Raises
        ------
        MemoryLimitError
            Before anything is built, if the books would exceed `config.memory_limit_mb`.
        """
        n = number("n_snapshots", n_snapshots, 1, integer=True)
        levels = number("n_levels", n_levels, 1, integer=True)
        what, needed = f"{n:,} snapshots of {levels} levels", BOOK_BYTES_A_ROW * 2.0 * n * levels
        require_memory(needed, self.config.memory_limit_mb, what, "ask for fewer")
        session = dataclasses.replace(self.session, n_intervals=min(n, LONGEST_INTERVALS))
        market = SyntheticMarket(self.config, session)
        return market.books(n, levels, np.random.default_rng(seed)).to_frame()

    @timed("estimate_slippage")
    def estimate_slippage(
        self, books: pd.DataFrame | BookSnapshots, trade_sizes: ArrayLike | None = None,
        side: str = "buy", n_intervals: int | None = None,
    ) -> pd.DataFrame:  # fmt: skip
        """Walk every book for every trade size.

        Parameters
        ----------
        books : DataFrame or BookSnapshots
            A frame has time, side ("bid"/"ask"), price, size, level (1 = best).
        trade_sizes : (K,) shares, optional
            By default 10 sizes in equal ratios from `config.min_trade_size` to the
            median visible depth, `config.max_trade_size` at most.
        side : str
            "buy" or "sell".
        n_intervals : int, optional
            Intervals that the session is cut into; by default as many as there are
            distinct times of day, 390 at most. `fit_model` makes one curve of each.

        Returns
        -------
        DataFrame
            Columns of `SlippageCurves.to_frame`; `avg_slippage` is at least 0. Rows where the depth
            ran out hold a lower bound and are flagged `censored`.

        Raises
        ------
        ValidationError
            Empty frame, missing column, NaN, text, price or size at or below 0,
            a crossed book, trade sizes at or below 0 or above `config.max_trade_size`.
        MemoryLimitError
            Before it is built, if the work would exceed `config.memory_limit_mb`.
        """
        snapshots, config = self._validate_orderbook_data(books), self.config
        if trade_sizes is None:
            trade_sizes = self._default_sizes(snapshots, side)
        sizes = self._validate_trade_sizes(trade_sizes)
        n, k = len(snapshots), len(sizes)
        what, needed = f"slippage of {n:,} snapshots, {k} sizes", SLIPPAGE_BYTES_A_ROW * n * k
        require_memory(needed, config.memory_limit_mb, what, "use fewer trade sizes")
        self._n_intervals = n_intervals or count_intervals(snapshots.time, self.session)
        how = {"parallel": config.parallel_processing, "log_batches": config.progress_logging}
        curves = slippage_curves(snapshots, sizes, side, batch_size=config.batch_size, **how)
        return curves.to_frame(self._n_intervals, self.session)

    def _validate_orderbook_data(self, books: pd.DataFrame | BookSnapshots) -> BookSnapshots:
        """Books, not crossed; those of a long frame are refused before they are built if too
        large.
        """
        if not isinstance(books, BookSnapshots):
            require_columns(books, FRAME_COLUMNS, "book frame")
            require_numbers(books, ("level",), above=-1)  # they may count from 0
            n, levels = books["time"].nunique(), int(books["level"].max())
            needed = ARRAY_BYTES_A_LEVEL * 2.0 * n * levels + FRAME_BYTES_A_ROW * len(books)
            what = f"a frame of {n:,} times and {levels:,} levels"
            require_memory(needed, self.config.memory_limit_mb, what, "pass fewer times or levels")
            books = BookSnapshots.from_frame(books)
        at, rule = pd.to_datetime(books.time, utc=True), "must show no crossed book (bid above ask)"
        checks.refuse_rows(books.half_spread < 0, "time", at, rule)
        return books

    @timed("fit_model")
    def fit_model(
        self, slippage: pd.DataFrame, test_fraction: float = 0.2, **choices: Any
    ) -> ImpactFit:
        """Fit the curve of every interval of the last `estimate_slippage` and keep it as `curve`.

        `choices` are those of `fit_impact`: by, estimator, errors, censoring, shrinkage.
        """
        n, settings = self._n_intervals, self.config
        # Rows of the last estimate need not reach the day's last interval.
        known = n is not None and "interval" in slippage and slippage["interval"].max() < n
        choices |= {"n_intervals": n if known else None, "test_fraction": test_fraction}
        choices |= {"min_observations": settings.min_observations, "session": self.session}
        choices |= {"tolerance": settings.numerical_tolerance}
        self.fit = fit_impact(slippage, self.model_type, **choices)
        logger.info("fitted %s impact: %s", self.model_type, self.fit.information)
        return self.fit

    def _validate_trade_sizes(self, trade_sizes: ArrayLike) -> Float:
        """The sizes, sorted; above `config.max_trade_size` refused, below `min_trade_size` warned
        of.
        """
        sizes, config = np.sort(checked_sizes(trade_sizes)), self.config
        number("the largest trade size", float(sizes[-1]), high=config.max_trade_size)
        if small := int(np.sum(sizes < config.min_trade_size)):
            limit = f"min_trade_size {config.min_trade_size:g}, the smallest is {sizes[0]:g}"
            logger.warning("%d trade sizes are below %s", small, limit)
        return sizes

    def _default_sizes(self, books: BookSnapshots, side: str) -> Float:
        least, most = self.config.min_trade_size, self.config.max_trade_size
        shown = books.levels(side)[1]
        depth = float(np.median(shown.sum(axis=1)))
        sizes = np.geomspace(least, min(max(depth, 2.0 * least), most), DEFAULT_SIZES)
        # Whole shares, but where a size is a fraction of a coin or contract.
        whole = least >= 1.0 and not (shown % 1.0).any()
        return np.unique(np.round(sizes) if whole else sizes)
