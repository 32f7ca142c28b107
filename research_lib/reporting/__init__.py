"""Configurations, reports, and how notebooks run.

The names below load their module when first used: a process that only runs kernels draws nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_NAMES = {
    "configurations": ("RunConfig", "chosen_runs", "configuration_names", "load_grid"),
    "manifest": ("ReportFolder", "environment_hash", "origin"),
    "parameters": (
        "NOTEBOOKS", "Project", "check_parameters", "effective_parameters", "real_data_of",
    ),
    "figures.base": (
        "FITTED", "SERIES", "STRATEGY_COLOURS", "TRUTH", "new_figure", "plot_bands",
        "plot_grouped_bars", "plot_lines", "plot_slippage_fit", "quartiles", "save_figure",
    ),
    "figures.execution": (
        "WAYS", "plot_executed", "plot_frontiers", "plot_holdings", "plot_net_value",
        "plot_order", "plot_regret", "plot_schedule", "plot_water_level",
    ),
    "figures.modelling": (
        "plot_child_orders", "plot_form_savings", "plot_half_lives", "plot_lag_estimates",
        "plot_shrinkage", "plot_specifications",
    ),
    "figures.strategy": (
        "plot_cost_calibration", "plot_cost_distribution", "plot_runs", "plot_saving_against",
        "plot_savings",
    ),
    "refresh": ("CHECKED_OUTPUT", "refresh_notebooks"),
    "run": ("Options", "run_reports"),
    "supervision": ("Limits",),
    "render": ("render_index", "render_summary", "write_pages"),
    "verify": ("ABSENT", "differing", "made_elsewhere", "verify_files", "verify_reports"),
}  # fmt: skip
_MODULES = {name: module for module, names in _NAMES.items() for name in names}

__all__ = sorted(_MODULES)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'research_lib.reporting' has no attribute {name!r}")
    return getattr(import_module(f"research_lib.reporting.{_MODULES[name]}"), name)
