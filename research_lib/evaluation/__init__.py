"""Evaluation: schedules replayed on recorded books, one accounting, valid intervals."""

# isort: skip_file

from research_lib.evaluation.adaptive import Adaptive
from research_lib.evaluation.costs import LEVELS, PARTS, Accounting, CarriedImpact, mids_after
from research_lib.evaluation.costs import blind_cost, execution_of_fills, order_cost, order_costs
from research_lib.evaluation.forecast import LiquidityProfile, MidForecast, WeightedShapes
from research_lib.evaluation.forecast import decaying, mid_volatility
from research_lib.evaluation.inference import compare, paired_costs, strategy_costs
from research_lib.evaluation.intervals import Placebo, block_bootstrap_interval, circular_shifts
from research_lib.evaluation.intervals import coverage_table, holm, mean_interval, power
from research_lib.evaluation.intervals import rank_placebo
from research_lib.evaluation.priors import Known, Prior, known_before, known_elsewhere, scenarios
from research_lib.evaluation.priors import with_latency
from research_lib.evaluation.protocol import evaluate, standard_strategies, walk_forward
from research_lib.evaluation.replay import Execution, Ladder, clairvoyant, replay, sample_states
from research_lib.evaluation.shortfall import Shortfall, implementation_shortfall
from research_lib.evaluation.strategies import AlmgrenChriss, BestBenchmark, Order, Pov, Scheduled
from research_lib.evaluation.strategies import StaticOptimal, Strategy, Twap, TwapAfter, Vwap, run

__all__ = [
    "LEVELS", "PARTS", "Accounting", "Adaptive", "AlmgrenChriss", "BestBenchmark",
    "CarriedImpact", "Execution", "Known", "Ladder", "LiquidityProfile", "MidForecast", "Order",
    "Placebo", "Pov", "Prior", "Scheduled", "Shortfall", "StaticOptimal", "Strategy", "Twap",
    "TwapAfter", "Vwap", "WeightedShapes", "blind_cost", "block_bootstrap_interval",
    "circular_shifts",
    "clairvoyant", "compare", "coverage_table", "decaying", "evaluate", "execution_of_fills",
    "holm", "implementation_shortfall", "known_before", "known_elsewhere", "mean_interval",
    "mid_volatility", "mids_after", "order_cost", "order_costs", "paired_costs", "power",
    "rank_placebo", "replay", "run", "sample_states", "scenarios", "standard_strategies",
    "strategy_costs", "walk_forward", "with_latency",
]  # fmt: skip
