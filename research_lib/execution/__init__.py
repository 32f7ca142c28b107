"""When to trade: schedules and the exact allocation.

Shares of `allocate` are in the order's direction. Where they are signed, `almgren_chriss` and
`portfolio_schedule` count a sale as positive, `price_path` a purchase. Risk is a `covariance` an
interval in `allocate`, per time in `portfolio_schedule`, and a `volatility` per root of time in
`almgren_chriss` and `transient_schedule`.

The stub beside this file lists its names; each loads its module when first used, but two that are
named as their file: the module would stand in the place of the function.
"""

from research_lib.execution.allocate import allocate as allocate
from research_lib.execution.almgren_chriss import almgren_chriss as almgren_chriss
from research_lib.lazy import names_of_stub

__getattr__, __dir__, __all__ = names_of_stub(__name__, __file__)
