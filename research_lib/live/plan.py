"""What is decided before the first event: the order, its strategy and what that knows."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from typing import Any, Self

import numpy as np

from research_lib import studies
from research_lib.checks import refuse_unknown
from research_lib.config import Limited, ModelConfig, OptimizerConfig, Record, data_file, limited
from research_lib.errors import InsufficientDataError, ValidationError
from research_lib.evaluation import Order, Prior, Strategy, known_elsewhere, planned
from research_lib.live.guards import Limits
from research_lib.market import BookSnapshots, QualityPolicy, Session, assess, iter_books, preset
from research_lib.market.sessions import EARLIEST, LATEST
from research_lib.reporting import Project, RunConfig

# Of a session that follows on another: its first book may be the one before.
BEFORE_NS = 300 * 10**9
CHOICES = {"fills": ("simulated", "stdin"), "completion": ("send", "leave")}


@dataclass(frozen=True)
class Settings(Limited):
    """The section `live` of a configuration.

    Attributes
    ----------
    session : str
        When the session of the order begins, as 2012-06-21 or, of blocks, 2026-01-06T12:00 (UTC);
        by default that of the recording's first evaluated session.
    strategy, benchmark : str
        By the names of `standard_strategies`; the benchmark is worked beside, on the same books, by
        default the best one known before.
    order : str
        Ends the ids of the order and of its child orders, where a session has a second one.
    fills : "simulated" or "stdin"
        Met with the book after the latency, or reported.
    completion : "send" or "leave"
        In the last interval: all that is left, up to the cap, or at most an even child order.
    max_age_seconds : float
        As of `sample_states`, for simulated fills; 0: no limit.
    snapshot_url : str
        Where Binance gives the whole book of the symbol.
    stream_symbol : str
        The symbol as the stream names it, as BTCUSDT; by default the order's.
    silence_seconds, max_wait_seconds : float
        Without a message, after which the feed connects anew; longest time between two attempts.
    limits : mapping
        Of `Limits`.

    Examples
    --------
    >>> Settings(limits={"stale_seconds": 5}).strategy
    'adaptive'
    """

    session: str = ""
    strategy: str = "adaptive"
    benchmark: str = ""
    order: str = ""
    fills: str = "simulated"
    completion: str = "send"
    max_age_seconds: float = limited(0.0, low=0)
    snapshot_url: str = ""
    stream_symbol: str = ""
    silence_seconds: float = limited(10.0, above=0)
    max_wait_seconds: float = limited(60.0, above=0)
    limits: Any = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, known in CHOICES.items():
            refuse_unknown([self[name]], known, name)
        if not isinstance(self.session, str | date):
            raise ValidationError(f"session must be a date, as 2012-06-21, got {self.session!r}")
        if not isinstance(self.limits, Limits):
            given = {} if self.limits is None else self.limits
            object.__setattr__(self, "limits", Limits.from_dict(given))


@dataclass(frozen=True, eq=False)
class Plan(Record):
    """An order for one session, and the strategy with what it knows, as the strategy notebook has.

    Attributes
    ----------
    name, symbol, side : str
        `name` is the configuration's.
    order : Order
    session : Session
    day : date, or datetime of a block
    strategy, benchmark : Strategy
    source : str
        The sessions that they were fitted on.
    latency_seconds : float
    settings : Settings
    recording : path or BookSnapshots
    reading, quality
        Options of `read_books` and the policy for doubtful states of a recording.

    Examples
    --------
    >>> given = {"n_intervals": 13, "n_days": 4, "fit_days": 2}
    >>> plan = Plan.of("own", Project().parameters("strategy", given), Settings())
    >>> plan.id, plan.strategy.name, plan.benchmark.name, plan.order.total_shares
    ('own-buy-20240104', 'adaptive', 'best benchmark', 20000.0)
    """

    name: str
    symbol: str
    side: str
    order: Order
    session: Session
    day: Any
    strategy: Strategy
    benchmark: Strategy
    source: str
    latency_seconds: float
    settings: Settings
    recording: Any = None
    reading: Any = field(default_factory=dict)
    quality: QualityPolicy | None = None

    @classmethod
    def load(cls, name: str, project: Project | None = None, at: int | None = None) -> Self:
        """The plan of notebooks/configs/<name>.yml: parameters of its strategy, section `live`.

        Where `live` names no session, it is that of the time `at` (ns UTC).

        Raises
        ------
        ValidationError
            A configuration without a strategy section, or what is wrong with a setting.
        InsufficientDataError
            Fewer sessions before the order's than the configuration fits to.
        """
        run = RunConfig.load(name, project)
        if "strategy" not in run.effective:
            raise ValidationError(f"{name} has no section strategy; add it to its sections")
        return cls.of(name, run.effective["strategy"], Settings.from_dict(run.live), at)

    @classmethod
    def of(
        cls, name: str, given: dict[str, Any], settings: Settings, at: int | None = None
    ) -> Self:
        """The plan of a strategy notebook's parameters; sessions and draws are as in its cells."""
        session = Session(given["n_intervals"], **given["session_settings"])
        quality = QualityPolicy(**given["quality_settings"])
        rng = np.random.default_rng(given["seed"])
        recording: Any = given["data_file_name"]
        if recording:
            recording, reading = data_file(recording), given["read_settings"]
            sessions = studies.Sessions.recorded(recording, session, quality, **reading)
        else:
            market = preset(given["preset_name"], session)
            how = given["n_days"], given["n_levels"], rng, quality
            sessions = studies.Sessions.drawn(market, *how)
            recording = sessions.books
        days, fit_days = sessions.books.days(session), given["fit_days"]
        day = days[min(fit_days, len(days) - 1)]
        if settings.session:
            day = _day(settings.session, session)
        elif at is not None:
            (day,) = session.days(np.array([at]))
        prior, experiment = _known(sessions, given, days, day, rng)
        total, ratio = given["total_shares"], _cap_ratio(given)
        order = Order(total, np.full(session.n_intervals, ratio * total))
        made = {one.name: one for one in experiment.strategies(prior)}
        usual = "best benchmark" if prior.earlier else studies.SIMPLE[0]
        names = (settings.strategy, settings.benchmark or usual)
        refuse_unknown(names, made, "strategy")
        strategy, benchmark = planned([made[one] for one in names], order)
        return cls(
            name=name, symbol=sessions.books.symbol or given["symbol"], side=given["side"],
            order=order, session=session, day=day, strategy=strategy, benchmark=benchmark,
            source=prior.source, settings=settings, recording=recording,
            latency_seconds=given["latency_seconds"] if sessions.states is not None else 0.0,
            reading=given["read_settings"], quality=quality,
        )  # fmt: skip

    @property
    def id(self) -> str:
        """The order's, the same at every start."""
        when = "%Y%m%dT%H%M" if self.session.block else "%Y%m%d"
        parts = self.name, self.side, self.day.strftime(when), self.settings.order
        return "-".join(part for part in parts if part)

    @property
    def bounds(self) -> tuple[int, int]:
        """From when on events are heard, and the session's close, ns UTC."""
        (opens,), (closes,) = self.session.bounds([self.day])
        return int(opens) - (BEFORE_NS if self.session.block else 0), int(closes)

    def parts(self, path: str = "") -> Iterator[BookSnapshots]:
        """The recording from shortly before the order's session on, as the study reads it.

        By default that of the configuration, of which the file at `path` has format and faults.

        Raises
        ------
        ValidationError
            Another symbol's recording, or one without a book in the session.
        """
        (begin, close), found = self.bounds, False
        parts: Iterable[BookSnapshots] = [self.recording]
        if path or not isinstance(self.recording, BookSnapshots):
            how = {"session": self.session, **self.reading}
            parts = iter_books(path or self.recording, studies.PART_ROWS, **how)
        for part in parts:
            if part.symbol and self.symbol and part.symbol != self.symbol:
                whose = f"the recording is of {part.symbol}, the order of {self.symbol}"
                raise ValidationError(f"{whose}; name a recording of {self.symbol}")
            found = found or bool(((begin <= part.time) & (part.time < close)).any())
            if found:
                known = part is self.recording
                yield part if known else assess(part, self.session, self.quality)[0]
        if not found:
            what = path or "the recording"
            raise ValidationError(f"{what} has no book in the session of {self.day}; name another")


def _cap_ratio(given: dict[str, Any]) -> float:
    return OptimizerConfig.from_dict(given["optimizer_settings"]).max_allocation_ratio


def _day(text: str, session: Session) -> Any:
    """The session that begins with a date, or a block's time (UTC)."""
    example = "2026-01-06T12:00 (UTC)" if session.block else "2012-06-21"
    try:
        if session.block:
            at = datetime.fromisoformat(str(text))
            at = at if at.tzinfo else at.replace(tzinfo=UTC)
            ns = 10**9 * round(at.timestamp())
            if not EARLIEST <= ns <= LATEST:
                raise ValueError("out of the range of ns")
            day = session.days(np.array([ns]))[0]
        else:
            day = date.fromisoformat(str(text))
    except ValueError as error:
        raise ValidationError(f"session {text!r} is no date, as {example}") from error
    if session.mic and not session.trading_days(day, day):
        raise ValidationError(f"session {text!r}: {session.mic} does not open that day")
    return day


def _known(
    sessions: studies.Sessions, given: dict[str, Any], days: Sequence[Any], day: Any,
    rng: np.random.Generator,
) -> tuple[Prior, studies.Experiment]:  # fmt: skip
    """The prior of a session's order and the experiment, with its forecast, that it is part of."""
    session, n, n_fit = sessions.session, sessions.session.n_intervals, given["fit_days"]
    config = ModelConfig.from_dict(given["model_settings"])
    curve = studies.curve_fit(given["model_type"], given["trade_sizes"], session, config)
    how: Any = {name: given[name] for name in ("total_shares", "objective", "urgency")}
    how["cap"], side = _cap_ratio(given), given["side"]
    if not n_fit:
        names, levels = given["prior_presets"], given["n_levels"]
        elsewhere = studies.draw_elsewhere(names, session, levels, rng)
        known = known_elsewhere(sessions.books, elsewhere, session, sides=[side], fit=curve)
        return known[0].priors[side], studies.Experiment(sessions, known, [], **how)
    at = sum(one < day for one in days)
    if at < n_fit:
        raise InsufficientDataError(f"{at} sessions are known before {day}, {n_fit} are fitted to")
    # Evaluated sessions between two fits share a prior; one that is still to come has the latest.
    last = at - (at - n_fit) % given["refit_days"] if day in days else at
    fitted = np.arange((last - n_fit) * n, last * n)
    source = " to ".join(dict.fromkeys(str(days[k]) for k in (last - n_fit, last - 1)))
    prior = Prior.from_books(sessions.books.take(fitted), side, session, source, curve)
    experiment = studies.Experiment(sessions, [], [], **how)
    if len(days) > n_fit:
        first = replace(sessions, books=sessions.books.take(np.arange((n_fit + 1) * n)))
        decided = first.known(curve, fit_days=n_fit)
        names = ("borrowed_from", "daily_volume", "urgency", "fee_per_share")
        own = {name: given[name] for name in names}
        costs = studies.accountings(decided[0], session, side, **own)
        experiment = studies.Experiment(first, decided, costs, **how)
        experiment, _ = studies.choose_forecast(experiment, curve, n_fit, given["latency_seconds"])
        experiment = replace(experiment, sessions=sessions)
    return prior, experiment
