"""Numbers as people read them, in sentences, tables and reports alike."""

import math
from typing import Any

ROUNDING = 1e-10  # in every unit of the reports, less is floating-point noise


def significant(value: Any, digits: int = 3) -> str:
    """A number with `digits` significant digits, thousands separated; rounding noise is 0.

    >>> significant(1234567), significant(0.0123456), significant(99.96), significant(None)
    ('1,230,000', '0.0123', '100', 'n/a')
    """
    if isinstance(value, str | bool):
        return str(value)
    if value is None or not math.isfinite(value):
        return "n/a"
    if abs(value) < ROUNDING:
        return "0"
    rounded = float(f"{value:.{digits - 1}e}")
    if not 1e-4 <= abs(rounded) < 1e9:
        return f"{rounded:.{digits - 1}e}"
    exponent = int(f"{rounded:e}".split("e")[1])
    return f"{rounded:,.{max(0, digits - 1 - exponent)}f}"


def more_or_less(gap: float, unit: str = "bps") -> str:
    """A difference in words.

    >>> more_or_less(0.3881), more_or_less(-2.0, "shares")
    ('0.388 bps more', '2.00 shares less')
    """
    return f"{significant(abs(gap))} {unit} {'more' if gap > 0 else 'less'}"


def residual(value: float | None) -> str:
    """The order of magnitude of a relative residual; below 1e-12 it is rounding.

    >>> residual(2e-16), residual(3.4e-7), residual(None)
    ('below 1e-12', '3e-07', 'n/a')
    """
    return "n/a" if value is None else "below 1e-12" if abs(value) < 1e-12 else f"{abs(value):.0e}"


def p_value(value: float | None) -> str:
    """A p-value; below 0.001 its digits are not meaningful.

    >>> p_value(0.01234), p_value(2e-5)
    ('0.0123', '< 0.001')
    """
    return "< 0.001" if value is not None and value < 0.001 else significant(value)


def interval(lower: float | None, upper: float | None) -> str:
    """Both limits; nothing where there are none.

    >>> interval(-3.168, -2.2), interval(float("nan"), float("nan"))
    ('-3.17 to -2.20', '')
    """
    if lower is None or upper is None or math.isnan(lower + upper):
        return ""
    return f"{significant(lower)} to {significant(upper)}"


def with_limits(value: float, lower: float = math.nan, upper: float = math.nan) -> str:
    """A number, with its limits in brackets where it has them.

    >>> with_limits(-2.5, -3.0, -2.0), with_limits(0.1), with_limits(math.nan)
    ('-2.50 (-3.00 to -2.00)', '0.100', '')
    """
    limits = interval(lower, upper)
    if math.isnan(value):
        return ""
    return f"{significant(value)} ({limits})" if limits else significant(value)


def cost_beside(difference: float, lower: float = math.nan, upper: float = math.nan) -> str:
    """What one strategy costs beside another, in bps, with its 95 % interval.

    >>> cost_beside(-2.69, -3.17, -2.2)
    'costs 2.69 bps less (95 % interval -3.17 to -2.20)'
    >>> cost_beside(0.09, -0.2, 0.3)
    'costs 0.0900 bps more, not distinguishable from 0 (95 % interval -0.200 to 0.300)'
    >>> cost_beside(0.0)
    'costs the same'
    """
    if abs(difference) < ROUNDING:
        return "costs the same"
    text = f"costs {more_or_less(difference)}"
    if not (limits := interval(lower, upper)):
        return text
    null = ", not distinguishable from 0" if lower <= 0 <= upper else ""
    return f"{text}{null} (95 % interval {limits})"
