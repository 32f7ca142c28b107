"""Numbers as people read them, in sentences, tables and reports alike."""

import math
from typing import Any

ROUNDING = 1e-10  # reports have no unit in which less would be more than floating-point noise


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


def residual(value: float | None) -> str:
    """A relative residual by its order of magnitude; below 1e-12 it is rounding.

    >>> residual(2e-16), residual(3.4e-7), residual(None)
    ('below 1e-12', '3e-07', 'n/a')
    """
    return "n/a" if value is None else "below 1e-12" if abs(value) < 1e-12 else f"{abs(value):.0e}"


def p_value(value: float | None) -> str:
    """A p-value; below 0.001 its digits mean nothing.

    >>> p_value(0.01234), p_value(2e-5)
    ('0.0123', '< 0.001')
    """
    return "< 0.001" if value is not None and value < 0.001 else significant(value)
