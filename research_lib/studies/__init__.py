"""Studies that one notebook section each draws on, one file a study."""

# ruff: noqa: I001  (several names a line)
# fmt: off
from research_lib.market.presets import latent_correlation, latent_memory, price_grid
from research_lib.studies.multiverse import CHOICES, multiverse
from research_lib.studies.portfolio import (
    Assets, correlation_regret, ledoit_wolf, quoted_assets, synthetic_assets,
)
from research_lib.studies.robustness import clock_placebo, schedule_placebo, seed_study
from research_lib.studies.dispersion import (
    QUOTED_SAVINGS, dispersion_needed, dispersion_table, lognormal_saving,
)

__all__ = [
    "CHOICES", "QUOTED_SAVINGS", "Assets", "clock_placebo", "correlation_regret",
    "dispersion_needed", "dispersion_table", "latent_correlation", "latent_memory",
    "ledoit_wolf", "lognormal_saving", "multiverse", "price_grid", "quoted_assets",
    "schedule_placebo", "seed_study", "synthetic_assets",
]
