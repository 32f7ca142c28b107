"""Studies that one notebook section each draws on: multiverse, coverage, comparisons of forecasts and of markets."""

from research_lib.evaluation.correlation_error import correlation_regret, realised_regret
from research_lib.evaluation.dispersion import (
    QUOTED_SAVINGS,
    dispersion_needed,
    dispersion_table,
    lognormal_saving,
    without_spread,
)
from research_lib.evaluation.forecast_choice import STANDARD, candidate_forecasts, compare_forecasts
from research_lib.evaluation.multiverse import CHOICES, multiverse, multiverse_reading
from research_lib.impact.coverage import KNOWN, censoring_bias, coverage, simulated_slippage
from research_lib.impact.kernel_coverage import kernel_coverage
from research_lib.market.calibration import MarketProfile, measure_market, price_grid
from research_lib.market.comparison import beside_preset, chance_distances, profile_distances, profile_lines
from research_lib.market.presets import latent_correlation, latent_memory, market_like

__all__ = [
    "CHOICES",
    "KNOWN",
    "QUOTED_SAVINGS",
    "STANDARD",
    "MarketProfile",
    "beside_preset",
    "candidate_forecasts",
    "censoring_bias",
    "chance_distances",
    "compare_forecasts",
    "correlation_regret",
    "coverage",
    "dispersion_needed",
    "dispersion_table",
    "kernel_coverage",
    "latent_correlation",
    "latent_memory",
    "lognormal_saving",
    "market_like",
    "measure_market",
    "multiverse",
    "multiverse_reading",
    "price_grid",
    "profile_distances",
    "profile_lines",
    "realised_regret",
    "simulated_slippage",
    "without_spread",
]
