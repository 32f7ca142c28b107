"""The worked example of Almgren, Thum, Hauptmann and Li (2005), to its printed digits.

Source: R. Almgren, C. Thum, E. Hauptmann, H. Li, "Direct Estimation of Equity Market Impact",
Risk 18(7), 58-62, July 2005 (working paper of 10 May 2005): the table of example impact costs,
buying 10 % of a day's volume of IBM and of DRI over 0.1, 0.2 and 0.5 days, with gamma = 0.314
and eta = 0.142. The paper itself could not be opened here; the same inputs and results stand,
transcribed from it, in the samples EquityMarketImpactIBM and EquityMarketImpactDRI of the
open-source library DROP (lakshmiDRIP/DROP, org.drip.sample.athl), which also give the
permanent impact before rounding: 19.86 and 21.679 bp.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from research_lib.impact import AlmgrenImpact

DURATION_DAYS = np.array([0.1, 0.2, 0.5])


@dataclass(frozen=True)
class Example:
    volume: float
    shares_outstanding: float
    volatility: float
    permanent_bps: float
    permanent_over_volatility: float
    temporary_bps: list[int]
    realized_bps: list[int]

    @property
    def curve(self) -> AlmgrenImpact:
        return AlmgrenImpact.from_market(
            price=1e4,  # one currency unit is one basis point
            volatility=self.volatility,
            volume=self.volume,
            shares_outstanding=self.shares_outstanding,
            duration=DURATION_DAYS,
        )


IBM = Example(6.561e6, 1728e6, 0.0157, 19.86, 0.126, [22, 15, 8], [32, 25, 18])
DRI = Example(1.929e6, 168e6, 0.0226, 21.679, 0.096, [32, 21, 12], [43, 32, 23])


@pytest.mark.parametrize("example", [IBM, DRI], ids=["IBM", "DRI"])
def test_the_example_costs_are_reproduced_to_the_printed_digits(example: Example) -> None:
    shares = 0.1 * example.volume
    permanent = example.curve.permanent * shares
    temporary = example.curve.temporary * shares**0.6
    assert permanent == pytest.approx(
        example.permanent_bps, abs=0.0005 if example is DRI else 0.005
    )
    assert (
        np.round(permanent / (1e4 * example.volatility), 3).tolist()
        == [example.permanent_over_volatility] * 3
    )
    assert np.round(temporary / (1e4 * example.volatility), 3).tolist() == [0.142, 0.094, 0.054]
    assert np.round(temporary).tolist() == example.temporary_bps
    assert np.round(example.curve.impact(shares)).tolist() == example.realized_bps


@pytest.mark.parametrize("example", [IBM, DRI], ids=["IBM", "DRI"])
def test_only_half_of_the_permanent_impact_is_paid(example: Example) -> None:
    shares = 0.1 * example.volume
    curve = example.curve
    paid = curve.impact(shares) - curve.temporary * shares**0.6
    assert paid == pytest.approx(0.5 * curve.permanent * shares, rel=1e-12)
