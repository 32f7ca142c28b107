"""Price levels of one side of a book that is built from updates or from orders."""

from heapq import nlargest, nsmallest

import numpy as np

from research_lib.checks import Float


class PriceLevels:
    """Sizes by price.

    Examples
    --------
    >>> bids = PriceLevels()
    >>> bids.set(10.0, 300.0), bids.set(9.9, 200.0), bids.add(10.0, -100.0)
    (None, None, None)
    >>> bids.best(2, highest=True).tolist()
    [[10.0, 9.9], [200.0, 200.0]]
    """

    def __init__(self) -> None:
        self.size: dict[float, float] = {}

    def set(self, price: float, size: float) -> None:
        """Replace the size at a price; 0 deletes, also where there is nothing to delete."""
        self.size[price] = size
        if not size > 0:
            del self.size[price]

    def add(self, price: float, change: float) -> None:
        """Change the size at a price."""
        self.set(price, self.size.get(price, 0.0) + change)

    def best(self, n_levels: int, *, highest: bool) -> Float:
        """(2, n_levels) prices and sizes, best first; empty levels are 0."""
        pick = nlargest if highest else nsmallest
        prices = pick(n_levels, self.size)
        levels = np.zeros((2, n_levels))
        levels[:, : len(prices)] = prices, [self.size[price] for price in prices]
        return levels
