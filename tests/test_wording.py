"""Numbers as reports show them."""

from __future__ import annotations

import pytest

from research_lib.wording import p_value, residual, significant


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1234567, "1,230,000"), (0.0123456, "0.0123"), (99.96, "100"), (9.996, "10.0"),
        (-3.14159, "-3.14"), (0, "0"),
        (1.5, "1.50"), (2000, "2,000"), (None, "n/a"), ("text", "text"), (1.234e-7, "1.23e-07"),
        (6.9e-13, "0"), (float("nan"), "n/a"), (5e12, "5.00e+12"),
    ],
)  # fmt: skip
def test_three_significant_digits(value: object, text: str) -> None:
    assert significant(value) == text


def test_residuals_show_no_meaningless_digits() -> None:
    assert [residual(2e-16), residual(0), residual(-3.4e-7)] == [
        "below 1e-12",
        "below 1e-12",
        "3e-07",
    ]


def test_p_values_below_a_thousandth_have_no_digits() -> None:
    assert [p_value(0.01234), p_value(0.001), p_value(9.99e-4), p_value(0.0), p_value(None)] == [
        "0.0123", "0.00100", "< 0.001", "< 0.001", "n/a",
    ]  # fmt: skip
