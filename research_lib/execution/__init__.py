"""When to trade: schedules and the exact allocation."""

from research_lib.execution.allocation import Allocation, allocate
from research_lib.execution.allocator import AllocationResult, TradeAllocator
from research_lib.execution.schedules import Schedule, twap

__all__ = ["Allocation", "AllocationResult", "Schedule", "TradeAllocator", "allocate", "twap"]
