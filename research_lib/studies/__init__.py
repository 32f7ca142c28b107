"""Studies that one notebook section each draws on, one file a study."""

# ruff: noqa: I001  (several names a line)
# fmt: off
from research_lib.market.presets import latent_correlation, latent_memory, price_grid
from research_lib.studies.multiverse import CHOICES, multiverse
from research_lib.studies.portfolio import (
    Assets, correlation_regret, quoted_assets, synthetic_assets,
)
from research_lib.studies.dispersion import (
    QUOTED_SAVINGS, dispersion_needed, dispersion_table, lognormal_saving,
)

__all__ = [
    "CHOICES", "QUOTED_SAVINGS", "Assets", "correlation_regret", "dispersion_needed",
    "dispersion_table", "latent_correlation", "latent_memory", "lognormal_saving", "multiverse",
    "price_grid", "quoted_assets", "synthetic_assets",
]
