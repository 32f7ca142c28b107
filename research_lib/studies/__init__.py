"""Studies that one notebook section each draws on, one file a study."""

# ruff: noqa: I001  (several names a line)
# fmt: off
from research_lib.market.presets import latent_correlation, latent_memory, price_grid
from research_lib.studies.coverage import coverage, simulated_slippage
from research_lib.studies.multiverse import CHOICES, multiverse
from research_lib.studies.portfolio import (
    correlation_regret, cross_impact, quoted_assets, synthetic_assets,
)
from research_lib.studies.savings import (
    QUOTED_SAVINGS, compare_forms, dispersion_needed, dispersion_table, lognormal_saving,
    rank_forms,
)

__all__ = [
    "CHOICES", "QUOTED_SAVINGS", "compare_forms",
    "correlation_regret", "coverage", "cross_impact", "dispersion_needed", "dispersion_table",
    "latent_correlation", "latent_memory", "lognormal_saving", "multiverse", "price_grid",
    "quoted_assets", "rank_forms", "simulated_slippage", "synthetic_assets",
]
