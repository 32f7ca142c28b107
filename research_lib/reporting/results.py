"""What each notebook hands on to the index, to verification and to other programs: its scalars.

About fifteen a section; whole tables go to tables/*.csv. Costs are in bps of the arrival mid.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Results:
    """What every section states."""

    answer: str
    symbol: str
    synthetic: bool


@dataclass(frozen=True)
class ModelingResults(Results):
    """Of impact_modeling.ipynb.

    Attributes
    ----------
    side : str
        "buy" or "sell".
    n_sessions : int
    typical_shares : float
        The order that costs are stated for: the middle trade size.
    half_spread_bps, impact_bps : float
        Of it at midday, by the form in use; they add up to its cost.
    model_type : str
        The form in use.
    best_form : str
        The form of the least cross-validated error.
    train_r2, test_r2, cross_validated_r2 : float
        Of slippage by the form in use: in sample, on the rows kept for the test, and with each
        session (of one session each fifth) left out; None where slippage does not vary.
    best_cross_validated_r2 : float
    n_analyses, n_power_laws : int
        Distinct analyses of the multiverse, and those in which a power law fits; 0 without it.
    least_exponent, most_exponent : float
        Of the power laws.
    """

    side: str
    n_sessions: int
    typical_shares: float
    half_spread_bps: float
    impact_bps: float
    model_type: str
    best_form: str
    train_r2: float
    test_r2: float
    cross_validated_r2: float
    best_cross_validated_r2: float
    n_analyses: int
    n_power_laws: int
    least_exponent: float
    most_exponent: float


@dataclass(frozen=True)
class StrategyResults(Results):
    """Of trade_allocation_strategy.ipynb; bps of the arrival mid, buy and sell averaged.

    Attributes
    ----------
    benchmark : str
        What the differences are to.
    benchmark_bps, adaptive_bps : float
        Expected cost of the order.
    difference_bps, lower_bps, upper_bps, p_value : float
        Adaptive less benchmark, its 95 % interval and its unadjusted p-value, as the one primary
        comparison; the last three NaN below 20 sessions.
    static_difference_bps : float
        Static optimum less benchmark.
    timing_risk_bps : float
        Of the benchmark, one standard deviation.
    scenario : str
        Of the carried impact: "measured", "borrowed" or, for a lower bound, "none".
    n_sessions : int
        Evaluated.
    total_shares : float
    side : str
        Of the schedule that is shown.
    """

    benchmark: str
    benchmark_bps: float
    adaptive_bps: float
    difference_bps: float
    lower_bps: float
    upper_bps: float
    p_value: float
    static_difference_bps: float
    timing_risk_bps: float
    scenario: str
    n_sessions: int
    total_shares: float
    side: str


@dataclass(frozen=True)
class RobustnessResults(Results):
    """Of strategy_robustness.ipynb; differences are adaptive less benchmark, bps.

    Attributes
    ----------
    verdict : str
        One sentence: whether the difference stands by the rules of the analysis plan.
    refuted : bool or None
        None below 20 sessions, which are described, unless their own priors withdraw it.
    lowest_bps, highest_bps : float
        Of the difference when one choice is changed at a time.
    optimism_bps : float
        Difference on sessions fitted on less that on others.
    draws_mean_bps, draws_error_bps : float
        Over draws of the synthetic market, with its Monte-Carlo error; NaN without draws.
    n_draws : int
    dispersion : float
        sd of ln slope by the curves fitted before; NaN where most slopes are 0.
    predicted_percent : float
        Saving of the exact split against equal shares by these curves, spread included.
    static_small_percent, adaptive_small_percent : float
        Saved against TWAP of spread and walk, on sessions not fitted on.
    static_total_percent, adaptive_total_percent : float
        The same of the whole cost.
    """

    verdict: str
    refuted: bool | None
    lowest_bps: float
    highest_bps: float
    optimism_bps: float
    draws_mean_bps: float
    draws_error_bps: float
    n_draws: int
    dispersion: float
    predicted_percent: float
    static_small_percent: float
    adaptive_small_percent: float
    static_total_percent: float
    adaptive_total_percent: float


@dataclass(frozen=True)
class TransientResults(Results):
    """Of transient_impact.ipynb; intervals of 95 %, None where they are open or not identified.

    Attributes
    ----------
    market_orders : int
    mean_order_shares : float
    half_spread_bps : float
    impact_half_life_seconds, impact_low_seconds, impact_high_seconds : float
        Of a market order's impact on the mid by the clock, best shape: of its decaying part where
        there is a permanent component.
    impact_p_value : float
        Of that shape.
    impact_decays : bool
        Whether a constant impact is rejected at 5 %.
    impact_identified : bool
    spread_half_life_seconds, spread_low_seconds, spread_high_seconds : float
    spread_p_value : float
    spread_decays, spread_identified : bool
    window_matters : bool
        Whether another window contradicts the half-life of the spread.
    block_state : str
        As `transient.BlockBook.state`.
    twap_bps : float
        Transient cost of TWAP under the block-shaped order book.
    saving_bps, saving_low_bps, saving_high_bps : float
        Of the optimal schedule against TWAP; at most, where the spread is not identified.
    """

    market_orders: int
    mean_order_shares: float
    half_spread_bps: float
    impact_half_life_seconds: float
    impact_low_seconds: float
    impact_high_seconds: float
    impact_p_value: float
    impact_decays: bool
    impact_identified: bool
    spread_half_life_seconds: float
    spread_low_seconds: float
    spread_high_seconds: float
    spread_p_value: float
    spread_decays: bool
    spread_identified: bool
    window_matters: bool
    block_state: str
    twap_bps: float
    saving_bps: float
    saving_low_bps: float
    saving_high_bps: float


@dataclass(frozen=True)
class PortfolioResults(Results):
    """Of portfolio_execution.ipynb: the portfolio schedule against TWAP and asset by asset.

    Attributes
    ----------
    gross_value : currency
        The orders' absolute values at arrival, added up: bps are of it.
    risk_aversion : per currency
        By assumption.
    correlation_days : int
        Sessions behind the covariance; of synthetic stocks, behind an estimate of its size.
    solver : str
        That made the portfolio schedule.
    cost_bps, deviation_bps, cost_plus_risk_bps : float
        Of the portfolio schedule: expected cost, its standard deviation, and cost plus risk
        aversion times variance.
    cost_minus_twap_bps, cost_minus_single_bps : float
        Above 0 where the portfolio schedule costs more.
    deviation_minus_twap_bps, deviation_minus_single_bps : float
    cost_plus_risk_minus_twap_bps, cost_plus_risk_minus_single_bps : float
    neutral_rise_bps : float
        Of cost plus risk where the schedule stays cash-neutral.
    zero_correlation_regret_percent : float
        Cost plus risk, half-spreads left out, of a plan that takes all correlations as 0, above
        that of the plan which knows them.
    """

    gross_value: float
    risk_aversion: float
    correlation_days: int
    solver: str
    cost_bps: float
    deviation_bps: float
    cost_plus_risk_bps: float
    cost_minus_twap_bps: float
    cost_minus_single_bps: float
    deviation_minus_twap_bps: float
    deviation_minus_single_bps: float
    cost_plus_risk_minus_twap_bps: float
    cost_plus_risk_minus_single_bps: float
    neutral_rise_bps: float
    zero_correlation_regret_percent: float


@dataclass(frozen=True)
class TcaResults(Results):
    """Of execution_tca.ipynb.

    Attributes
    ----------
    n_orders, n_fills, n_left_out : int
        Analysed, and orders left out because a row is at fault.
    delay_bps, spread_bps, walk_bps, carried_bps, timing_bps, opportunity_bps, fees_bps : float
        Means weighted by the orders' values at arrival, of which bps are.
    total_bps, trading_bps : float
        Implementation shortfall; of it spread to timing.
    slope, slope_low, slope_high : float
        Of the cost of whole orders from their arrival on its forecast; None without one.
    best_benchmark_difference_bps : float
        What the best benchmark would have cost more than the desk's orders that only took
        liquidity, in spread, walk and carried.
    """

    n_orders: int
    n_fills: int
    n_left_out: int
    delay_bps: float
    spread_bps: float
    walk_bps: float
    carried_bps: float
    timing_bps: float
    opportunity_bps: float
    fees_bps: float
    total_bps: float
    trading_bps: float
    slope: float
    slope_low: float
    slope_high: float
    best_benchmark_difference_bps: float


@dataclass(frozen=True)
class ForecastResults(Results):
    """Of liquidity_forecast.ipynb; differences are paired by session, bps of the arrival mid.

    Attributes
    ----------
    n_sessions : int
        Evaluated.
    profile_bps : float
        Expected cost of the adaptive strategy with the profile of earlier sessions, and without a
        forecast of the mid.
    best : str
        The cheapest forecast of spread and depth, controls apart.
    best_bps, best_lower_bps, best_upper_bps : float
        Its difference to the profile; limits of 95 % from 20 sessions on.
    oracle_bps : float
        That of spread and depth known beforehand.
    chosen : str
        The forecast of the mid that earlier sessions would have chosen before the last one.
    mid_bps, mid_lower_bps, mid_upper_bps : float
        Difference of the forecast of the mid in use to none.
    mid_oracle_bps : float
        That of moves known beforehand.
    mid_r2_percent : float
        Of the regression on all signals, over the shortest horizon that is known, out of sample.
    """

    n_sessions: int
    profile_bps: float
    best: str
    best_bps: float
    best_lower_bps: float
    best_upper_bps: float
    oracle_bps: float
    chosen: str
    mid_bps: float
    mid_lower_bps: float
    mid_upper_bps: float
    mid_oracle_bps: float
    mid_r2_percent: float


@dataclass(frozen=True)
class PassiveResults(Results):
    """Of passive_execution.ipynb; bps of the arrival mid, buy and sell averaged.

    Attributes
    ----------
    posting : str
        Whether posting every child order beats taking for both bounds of the queue, costs more for
        both, or cannot be decided from these data.
    take_bps : float
        Expected cost of taking.
    last_bps, last_lower_bps, last_upper_bps : float
        Posting less taking by the pessimistic bound, with its 95 % interval, or, below 20 sessions,
        its range over clocks and sides.
    first_bps, first_lower_bps, first_upper_bps : float
        By the optimistic one.
    last_without_bps, first_without_bps : float
        The differences if resting shares do not move the price.
    rule_last_bps, rule_first_bps : float
        The same of the strategy that posts where it expects to gain.
    at_rest_percent : float
        Of the shares, by the pessimistic bound.
    rebate : float
        At which posting and taking are even by it, currency a share.
    n_real_orders : int
        Real limit orders at the best quote whose fate is known; 0 without messages.
    bracketed_percent, exact_percent : float
        Of these: true fills between the bounds; fills equal to those of the exact queue.
    n_sessions : int
        Evaluated.
    """

    posting: str
    take_bps: float
    last_bps: float
    last_lower_bps: float
    last_upper_bps: float
    first_bps: float
    first_lower_bps: float
    first_upper_bps: float
    last_without_bps: float
    first_without_bps: float
    rule_last_bps: float
    rule_first_bps: float
    at_rest_percent: float
    rebate: float
    n_real_orders: int
    bracketed_percent: float
    exact_percent: float
    n_sessions: int


@dataclass(frozen=True)
class MethodologyResults(Results):
    """Of methodology.ipynb.

    Attributes
    ----------
    n_checks : int
        Equations that were checked by an independent route; all of them hold, or the run fails.
    n_claims, n_reproduced : int
        Published claims audited, and those reproduced on all that they were tested on.
    difference_bps : float
        Headline of the worked example, a synthetic market.
    """

    n_checks: int
    n_claims: int
    n_reproduced: int
    difference_bps: float
