"""Studies that one notebook section each draws on, one file a study."""

# ruff: noqa: I001  (several names a line)
# fmt: off
from research_lib.market.presets import latent_correlation, latent_memory, price_grid
from research_lib.studies.multiverse import CHOICES, multiverse
from research_lib.studies.portfolio import (
    Assets, correlation_regret, ledoit_wolf, quoted_assets, synthetic_assets,
)
from research_lib.studies.experiment import (
    SIMPLE, Experiment, Sessions, accountings, cost_table, curve_fit, draw_elsewhere, fit_books,
    kernel_table, with_intervals,
)
from research_lib.studies.robustness import (
    clock_placebo, draws_table, interval_checks, refutations, saved_table, schedule_placebo,
    seed_study, urgency_frontier, verdict,
)
from research_lib.studies.dispersion import (
    QUOTED_SAVINGS, dispersion_needed, dispersion_table, lognormal_saving,
)

__all__ = [
    "CHOICES", "QUOTED_SAVINGS", "SIMPLE", "Assets", "Experiment", "Sessions", "accountings",
    "clock_placebo", "correlation_regret", "cost_table", "curve_fit", "dispersion_needed",
    "dispersion_table", "draw_elsewhere", "draws_table", "fit_books", "interval_checks",
    "kernel_table", "latent_correlation", "latent_memory", "ledoit_wolf", "lognormal_saving",
    "multiverse", "price_grid", "quoted_assets", "refutations", "saved_table",
    "schedule_placebo", "seed_study", "synthetic_assets", "urgency_frontier", "verdict",
    "with_intervals",
]
