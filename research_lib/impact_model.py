"""`ImpactModel`: the modelling half of the facade, from books to a fitted curve."""

from __future__ import annotations

import dataclasses
import logging
import math
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from research_lib.checks import number, refuse_unknown, require_columns, require_numbers
from research_lib.config import ModelConfig
from research_lib.errors import ModelFittingError, ValidationError
from research_lib.impact import ImpactCurve, ImpactFit, fit_impact, slippage_curves
from research_lib.impact.estimation import MODEL_TYPES
from research_lib.impact.slippage import LONGEST_INTERVALS, checked_sizes, count_intervals
from research_lib.market import BookSnapshots, Session, SyntheticMarket
from research_lib.market.book import FRAME_COLUMNS
from research_lib.monitoring import require_memory, timed

logger = logging.getLogger(__name__)

# Measured peaks (tests/test_facade.py holds them): bytes per (snapshot, side, level) of drawing books and
# framing them, of a frame's arrays, per row of that frame, and per (snapshot, side, trade size) of walking and framing.
BOOK_BYTES_A_ROW = 110
ARRAY_BYTES_A_LEVEL = 40
FRAME_BYTES_A_ROW = 60
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
        Hours and time zone of the exchange, 09:30-16:00 America/New_York by default; its own
        n_intervals is not used.

    Examples
    --------
    >>> model = ImpactModel("linear")
    >>> fit = model.fit_model(model.estimate_slippage(model.generate_synthetic_orderbook()))
    >>> len(model.curve)
    390
    """

    def __init__(
        self,
        model_type: str = "linear",
        config: ModelConfig | None = None,
        session: Session | None = None,
    ) -> None:
        refuse_unknown([model_type], MODEL_TYPES, "model_type")
        if config is not None and not isinstance(config, ModelConfig):
            raise ValidationError(
                f"config must be a ModelConfig, got {type(config).__name__}; see ModelConfig.from_dict"
            )
        self.model_type = model_type
        self.config = config or ModelConfig()
        self.session = session or Session()
        self.fit: ImpactFit | None = None
        self._n_intervals: int | None = None

    @property
    def curve(self) -> ImpactCurve:
        """The fitted curve, one an interval; `fit_model` comes first."""
        if self.fit is None:
            raise ModelFittingError(
                "the impact model has no curve yet; call fit_model(slippage) first"
            )
        return self.fit.curve

    @timed("generate_synthetic_orderbook")
    def generate_synthetic_orderbook(
        self, n_snapshots: int = 390, n_levels: int = 20, *, seed: int = 0
    ) -> pd.DataFrame:
        """Books of a `SyntheticMarket` as a long frame: time, side, price, size, level.

        Up to 390 snapshots are spread evenly over one session; more go on minute by
        minute over the following business days.

        Raises
        ------
        MemoryLimitError
            Before anything is built, if the books would exceed `config.memory_limit_mb`.
        """
        n = number("n_snapshots", n_snapshots, 1, integer=True)
        levels = number("n_levels", n_levels, 1, integer=True)
        require_memory(
            BOOK_BYTES_A_ROW * 2.0 * n * levels,
            self.config.memory_limit_mb,
            f"{n:,} snapshots of {levels} levels",
            "ask for fewer",
        )
        market = SyntheticMarket(
            self.config, dataclasses.replace(self.session, n_intervals=min(n, LONGEST_INTERVALS))
        )
        return market.books(n, levels, np.random.default_rng(seed)).to_frame()

    @timed("estimate_slippage")
    def estimate_slippage(
        self,
        books: pd.DataFrame | BookSnapshots,
        trade_sizes: ArrayLike | None = None,
        side: str = "buy",
        n_intervals: int | None = None,
    ) -> pd.DataFrame:
        """Walk every book for every trade size.

        Parameters
        ----------
        books : DataFrame or BookSnapshots
            A frame has time, side ("bid"/"ask"), price, size, level (1 = best).
        trade_sizes : (K,) shares, optional
            By default 10 sizes in equal ratios from `config.min_trade_size` to the
            median visible depth, `config.max_trade_size` at most.
        side : str
            "buy", "sell" or "both".
        n_intervals : int, optional
            Intervals that the session is cut into; by default as many as there are
            distinct times of day, 390 at most. `fit_model` makes one curve of each.

        Returns
        -------
        DataFrame
            Columns of `SlippageCurves.to_frame`; `avg_slippage` is at least 0, and rows
            where the depth ran out are a lower bound, flagged `censored`.

        Raises
        ------
        ValidationError
            Empty frame, missing column, NaN, text, price or size at or below 0,
            a crossed book, trade sizes at or below 0 or above `config.max_trade_size`.
        MemoryLimitError
            Before it is built, if the work would exceed `config.memory_limit_mb`.
        """
        sides = _sides(side)
        snapshots = books if isinstance(books, BookSnapshots) else self._from_frame(books)
        _refuse_crossed(snapshots)
        sizes = (
            self._default_sizes(snapshots, sides)
            if trade_sizes is None
            else self._checked_sizes(trade_sizes)
        )
        require_memory(
            SLIPPAGE_BYTES_A_ROW * float(len(snapshots)) * len(sides) * len(sizes),
            self.config.memory_limit_mb,
            f"slippage of {len(snapshots):,} snapshots, {len(sizes)} sizes, {len(sides)} sides",
            "use fewer trade sizes",
        )
        self._n_intervals = n_intervals or count_intervals(snapshots.time, self.session)
        frames = [self._walk(snapshots, sizes, one_side) for one_side in sides]
        return frames[0] if len(frames) == 1 else _stacked(frames)

    def _from_frame(self, frame: pd.DataFrame) -> BookSnapshots:
        """Books of a long frame, refused before they are built if they would be too large."""
        require_columns(frame, FRAME_COLUMNS, "book frame")
        require_numbers(frame, ("level",), above=0)
        n, levels = frame["time"].nunique(), int(frame["level"].max())
        require_memory(
            ARRAY_BYTES_A_LEVEL * 2.0 * n * levels + FRAME_BYTES_A_ROW * len(frame),
            self.config.memory_limit_mb,
            f"a frame of {n:,} times and {levels:,} levels",
            "pass fewer times or levels",
        )
        return BookSnapshots.from_frame(frame)

    def _walk(self, books: BookSnapshots, sizes: NDArray[np.float64], side: str) -> pd.DataFrame:
        curves = slippage_curves(
            books,
            sizes,
            side,
            batch_size=self.config.batch_size,
            parallel=self.config.parallel_processing,
            log_batches=self.config.progress_logging,
        )
        return curves.to_frame(self._n_intervals, self.session)

    @timed("fit_model")
    def fit_model(
        self, slippage: pd.DataFrame, test_fraction: float = 0.2, **choices: Any
    ) -> ImpactFit:
        """Fit the curve of every interval of the last `estimate_slippage` and keep it as `curve`.

        `choices` are those of `fit_impact`: by, n_buckets, estimator, errors, censoring, shrinkage.
        """
        self.fit = fit_impact(
            slippage,
            self.model_type,
            n_intervals=self._known_intervals(slippage),
            test_fraction=test_fraction,
            min_observations=self.config.min_observations,
            tolerance=self.config.numerical_tolerance,
            session=self.session,
            **choices,
        )
        logger.info("fitted %s impact: %s", self.model_type, self.fit.information)
        return self.fit

    def _known_intervals(self, slippage: pd.DataFrame) -> int | None:
        """Intervals of the last estimate, which the rows need not show to the last one, if they are its rows."""
        require_columns(slippage, ("interval",), "slippage frame")
        n = self._n_intervals
        return n if n is not None and slippage["interval"].max() < n else None

    def _checked_sizes(self, trade_sizes: ArrayLike) -> NDArray[np.float64]:
        sizes = checked_sizes(trade_sizes)
        small, large = (
            sizes[sizes < self.config.min_trade_size],
            sizes[sizes > self.config.max_trade_size],
        )
        if large.size:
            raise ValidationError(
                f"trade size {large[0]:g} is above max_trade_size {self.config.max_trade_size:g}; "
                "lower it or raise the limit"
            )
        if small.size:
            logger.warning(
                "%d trade sizes are below min_trade_size %g, the smallest is %g: impact may be below one level",
                small.size,
                self.config.min_trade_size,
                small.min(),
            )
        return sizes

    def _default_sizes(self, books: BookSnapshots, sides: list[str]) -> NDArray[np.float64]:
        depth = min(float(np.median(books.levels(side)[1].sum(axis=1))) for side in sides)
        largest = min(max(depth, 2.0 * self.config.min_trade_size), self.config.max_trade_size)
        # Whole shares, or two digits of the smallest size where a share is as large as a coin.
        unit = min(1.0, 10.0 ** (math.floor(math.log10(self.config.min_trade_size)) - 1))
        sizes = np.geomspace(self.config.min_trade_size, largest, DEFAULT_SIZES)
        return np.unique(np.round(sizes / unit) * unit)


def _sides(side: str) -> list[str]:
    if side not in ("buy", "sell", "both"):
        raise ValidationError(f'side must be "buy", "sell" or "both", got {side!r}')
    return ["buy", "sell"] if side == "both" else [side]


def _stacked(frames: list[pd.DataFrame]) -> pd.DataFrame:
    """Buys and sells in one frame, in time order."""
    both = pd.concat([frame.astype({"side": str}) for frame in frames], ignore_index=True)
    return both.astype({"side": "category"}).sort_values(
        ["time", "side"], kind="stable", ignore_index=True
    )


def _refuse_crossed(books: BookSnapshots) -> None:
    crossed = books.half_spread < 0
    if crossed.any():
        row = int(np.argmax(crossed))
        raise ValidationError(
            f"{int(crossed.sum()):,} of {len(books):,} books are crossed (best bid above best ask), first at "
            f"{pd.Timestamp(books.time[row], tz='UTC')} (bid {books.bid_price[row, 0]:g}, "
            f"ask {books.ask_price[row, 0]:g}); drop them"
        )
