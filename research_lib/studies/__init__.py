"""Studies that one notebook section each draws on, one file a study."""

# ruff: noqa: I001

from research_lib.market.presets import (
    MarketProfile,
    latent_correlation,
    latent_memory,
    market_like,
    measure_market,
    price_grid,
)
from research_lib.studies.comparison import (
    beside_preset, chance_distances, profile_distances, profile_lines,
)  # fmt: skip
from research_lib.studies.coverage import (
    KNOWN, censoring_bias, coverage, kernel_coverage, simulated_slippage,
)  # fmt: skip
from research_lib.studies.dispersion import (
    QUOTED_SAVINGS, dispersion_needed, dispersion_table, lognormal_saving, without_spread,
)  # fmt: skip
from research_lib.studies.forecast_choice import STANDARD, candidate_forecasts, compare_forecasts
from research_lib.studies.model_choice import compare_forms, model_confidence_set
from research_lib.studies.multiverse import CHOICES, multiverse, multiverse_reading
from research_lib.studies.portfolio import (
    correlation_regret, cross_impact, permanent_response, quoted_assets, realised_regret,
    synthetic_assets,
)  # fmt: skip

__all__ = [
    "CHOICES", "KNOWN", "QUOTED_SAVINGS", "STANDARD", "MarketProfile", "beside_preset",
    "candidate_forecasts", "censoring_bias", "chance_distances", "compare_forecasts",
    "compare_forms", "correlation_regret", "coverage", "cross_impact", "dispersion_needed",
    "dispersion_table", "kernel_coverage", "latent_correlation", "latent_memory",
    "lognormal_saving", "market_like", "measure_market", "model_confidence_set", "multiverse",
    "multiverse_reading", "permanent_response", "price_grid", "profile_distances",
    "profile_lines", "quoted_assets", "realised_regret", "simulated_slippage",
    "synthetic_assets", "without_spread",
]  # fmt: skip
