"""Price levels of one side of a book that is built from updates or from orders."""

from bisect import bisect_left, insort

import numpy as np

from research_lib.checks import Float


class PriceLevels:
    """Sizes by price, and the prices in rising order.

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
        self.prices: list[float] = []

    def set(self, price: float, size: float) -> None:
        """Replace the size at a price; 0 deletes, also where there is nothing to delete."""
        if size > 0:
            if price not in self.size:
                insort(self.prices, price)
            self.size[price] = size
        elif self.size.pop(price, None) is not None:
            del self.prices[bisect_left(self.prices, price)]

    def add(self, price: float, change: float) -> None:
        """Change the size at a price."""
        self.set(price, self.size.get(price, 0.0) + change)

    def best(self, n_levels: int, *, highest: bool) -> Float:
        """(2, n_levels) prices and sizes, best first; empty levels are 0."""
        prices = self.prices[: -n_levels - 1 : -1] if highest else self.prices[:n_levels]
        levels = np.zeros((2, n_levels))
        levels[:, : len(prices)] = prices, [self.size[price] for price in prices]
        return levels
