"""What does trading x shares cost, and how should an order be split?

The names below load their module when first used, so that importing the package is quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from research_lib.config import ModelConfig, OptimizerConfig, SolverType
    from research_lib.errors import ModelFittingError, OptimizationError, ValidationError
    from research_lib.health import health_check
    from research_lib.impact_model import ImpactModel
    from research_lib.monitoring import PerformanceMonitor, configure_logging
    from research_lib.trade_allocator import TradeAllocator

_NAMES = {
    "config": ("ModelConfig", "OptimizerConfig", "SolverType"),
    "errors": ("ModelFittingError", "OptimizationError", "ValidationError"),
    "health": ("health_check",),
    "impact_model": ("ImpactModel",),
    "monitoring": ("PerformanceMonitor", "configure_logging"),
    "trade_allocator": ("TradeAllocator",),
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names}

__all__ = [
    "ImpactModel", "ModelConfig", "ModelFittingError", "OptimizationError", "OptimizerConfig",
    "PerformanceMonitor", "SolverType", "TradeAllocator", "ValidationError", "configure_logging",
    "health_check",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'research_lib' has no attribute {name!r}")
    return getattr(import_module(f"research_lib.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
