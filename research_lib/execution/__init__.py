"""When to trade: schedules and the exact allocation."""

from research_lib.execution.allocation import allocate
from research_lib.execution.allocator import AllocationResult, TradeAllocator
from research_lib.execution.attempts import Attempt
from research_lib.execution.batch import Allocations, allocate_many
from research_lib.execution.bounds import share_caps
from research_lib.execution.result import Allocation
from research_lib.execution.schedules import Schedule, twap
from research_lib.execution.solvers import ConvexTerms

__all__ = [
    "Allocation",
    "AllocationResult",
    "Allocations",
    "Attempt",
    "ConvexTerms",
    "Schedule",
    "TradeAllocator",
    "allocate",
    "allocate_many",
    "share_caps",
    "twap",
]
