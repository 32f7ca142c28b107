"""The price under a schedule: labelled shares are aligned by label or refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from research_lib.errors import ValidationError
from research_lib.impact import ExponentialKernel
from research_lib.transient import price_path

KERNEL = ExponentialKernel(0.7, 2e-3)


def test_labelled_shares_are_aligned_with_the_times_or_refused() -> None:
    names = ["open", "noon", "close"]
    times, shares = pd.Series([0.0, 1.5, 4.0], names), pd.Series([30.0, 20.0, 10.0], names)
    plain = price_path(KERNEL, times.to_numpy(), shares.to_numpy())
    turned = price_path(KERNEL, times, shares[::-1])
    assert turned.shares.tolist() == [30.0, 20.0, 10.0]
    assert turned.cost == plain.cost
    with pytest.raises(ValidationError, match="shares is labelled"):
        price_path(KERNEL, times, shares.rename({"close": "night"}))


def test_numbered_shares_are_aligned_with_their_numbers() -> None:
    shares = pd.Series([10.0, 30.0, 20.0], [2, 0, 1])
    assert price_path(KERNEL, np.arange(3.0), shares).shares.tolist() == [30.0, 20.0, 10.0]
    with pytest.raises(ValidationError, match="shares is labelled"):
        price_path(KERNEL, np.arange(3.0), shares.rename({2: 9}))
