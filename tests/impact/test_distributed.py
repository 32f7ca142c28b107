"""Moments of a store: the same bit by bit here, on two workers, and when one of them is killed."""

from __future__ import annotations

import dataclasses
import logging
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pandas as pd
import pytest
from distributed import Client, LocalCluster
from helpers import wait_until

from research_lib.errors import NoBooksError, ValidationError
from research_lib.impact import ImpactMoments, fit_impact, moments_of_books, moments_of_store
from research_lib.market import BookSnapshots, Session, convert, iter_books, thin_stock

SESSION = Session(13)
SIZES = [200.0, 500.0, 1000.0, 2000.0]
SYMBOLS, N_DAYS = ("AAA", "B/B", "CCC"), 3


def write(folder: Path, books: BookSnapshots, symbol: str) -> list[Path]:
    """The books as a user has them, in a file, and converted: the folders of their dates."""
    file = folder.with_name(f"{quote(symbol, safe='')}.parquet")
    books.to_frame().to_parquet(file)
    return sorted(convert(file, folder, session=SESSION, symbol=symbol, progress=False))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("made") / "store"


@pytest.fixture(scope="module")
def dates(folder: Path) -> dict[str, list[Path]]:
    """Three symbols of three days, a book every five minutes, of which the thirteen half-hours
    are sampled.
    """
    return {
        symbol: write(
            folder,
            thin_stock(Session(78)).books(78 * N_DAYS, 10, np.random.default_rng(seed)),
            symbol,
        )
        for seed, symbol in enumerate(SYMBOLS)
    }


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    """Two processes of one thread on this machine."""
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0"
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


def exactly(one: ImpactMoments, other: ImpactMoments) -> None:
    pd.testing.assert_frame_equal(one.cells, other.cells, check_exact=True)
    pd.testing.assert_frame_equal(one.books, other.books, check_exact=True)
    assert np.array_equal(one.sizes, other.sizes)
    assert one.n_intervals == other.n_intervals


@pytest.fixture(scope="module")
def serial(folder: Path, dates: dict[str, list[Path]]) -> dict[str, ImpactMoments]:
    return dict(moments_of_store(folder, SIZES, "buy", SESSION))


def test_by_date_gives_what_one_pass_over_all_dates_gives(
    dates: dict[str, list[Path]], serial: dict[str, ImpactMoments]
) -> None:
    assert list(serial) == sorted(SYMBOLS)
    for symbol, moments in serial.items():
        assert len(dates[symbol]) == N_DAYS
        exactly(
            moments, moments_of_books(iter_books(dates[symbol][0].parent), SIZES, "buy", SESSION)
        )
        assert moments.books["n"].sum() == 13 * N_DAYS


@pytest.mark.slow
def test_two_workers_give_the_same_bit_by_bit(
    folder: Path, serial: dict[str, ImpactMoments], client: Client
) -> None:
    for batch_rows in (50, 100_000):
        found = dict(
            moments_of_store(folder, SIZES, "buy", SESSION, batch_rows=batch_rows, client=client)
        )
        assert list(found) == list(serial)
        for symbol in serial:
            exactly(found[symbol], serial[symbol])


@pytest.mark.slow
def test_fits_made_on_the_workers_are_those_made_here(
    folder: Path, serial: dict[str, ImpactMoments], client: Client
) -> None:
    fit = partial(fit_impact, model_type="power", by="pooled")
    for symbol, found in moments_of_store(folder, SIZES, "buy", SESSION, then=fit, client=client):
        pd.testing.assert_frame_equal(found.params, fit(serial[symbol]).params, check_exact=True)
        pd.testing.assert_frame_equal(found.bse, fit(serial[symbol]).bse, check_exact=True)


@pytest.mark.slow
def test_a_converted_day_gives_the_moments_of_its_vendors_file(
    frog_file: Path, client: Client, tmp_path: Path
) -> None:
    convert(frog_file, tmp_path / "store", progress=False)
    session = Session(390)
    ((symbol, found),) = moments_of_store(tmp_path / "store", SIZES, "sell", session, client=client)
    assert symbol == "FROG"
    exactly(found, moments_of_books(iter_books(frog_file), SIZES, "sell", session))


def _stuck_at_first(flag: Path, moments: ImpactMoments) -> ImpactMoments:
    """The first to come says which process it is and stays until it is killed; later ones pass."""
    mine = flag.with_name(f"process-{os.getpid()}")
    mine.write_text(str(os.getpid()))
    try:
        os.link(mine, flag)
    except FileExistsError:
        return moments
    time.sleep(600)
    raise AssertionError("nobody killed this worker")


def _kill_the_stuck(flag: Path) -> None:
    wait_until(flag.exists, "a worker at work", 300.0)
    os.kill(int(flag.read_text()), signal.SIGKILL)


@pytest.mark.slow
def test_a_worker_killed_at_work_loses_nothing(
    folder: Path, serial: dict[str, ImpactMoments], client: Client, tmp_path: Path
) -> None:
    flag, before = tmp_path / "stuck", set(client.scheduler_info()["workers"])
    killer = threading.Thread(target=_kill_the_stuck, args=(flag,))
    killer.start()
    then = partial(_stuck_at_first, flag)
    found = dict(moments_of_store(folder, SIZES, "buy", SESSION, then=then, client=client))
    killer.join()
    assert set(client.scheduler_info()["workers"]) != before
    for symbol in serial:
        exactly(found[symbol], serial[symbol])


def test_a_date_without_books_in_the_session_adds_nothing_and_is_named(
    dates: dict[str, list[Path]],
    serial: dict[str, ImpactMoments],
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    books, night = next(iter(iter_books(dates["AAA"][0]))), 14 * 86_400 * 10**9 + 10 * 3_600 * 10**9
    write(
        tmp_path / "store", dataclasses.replace(books.take([0]), time=books.time[:1] - night), "AAA"
    )
    for date in dates["AAA"]:
        (tmp_path / "store" / "symbol=AAA" / date.name).symlink_to(date)
    with caplog.at_level(logging.WARNING, "research_lib"):
        found = dict(moments_of_store(tmp_path / "store", SIZES, "buy", SESSION))
    exactly(found["AAA"], serial["AAA"])
    assert "adds nothing: none of 1 snapshots falls inside" in caplog.text


@pytest.mark.usefixtures("dates")
def test_a_session_of_other_hours_or_days_is_refused_where_it_would_count_wrongly(
    folder: Path,
) -> None:
    with pytest.raises(
        NoBooksError, match="AAA has no usable book inside the session on any of its 3 dates"
    ):
        list(moments_of_store(folder, SIZES, "buy", Session(13, "01:00", "02:00")))
    overnight = Session(13, "12:00", "11:00", opens_day_before=True)
    with pytest.raises(ValidationError, match="give the session that the store was converted by"):
        list(moments_of_store(folder, SIZES, "buy", overnight))


@pytest.mark.usefixtures("dates")
def test_what_cannot_be_is_refused_before_any_work(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="is no folder made by convert"):
        moments_of_store(tmp_path, SIZES, "buy", SESSION)
    with pytest.raises(ValidationError, match="side must be"):
        moments_of_store(folder, SIZES, "hold", SESSION)


@pytest.mark.slow
def test_damage_is_named_from_the_worker_that_met_it(
    dates: dict[str, list[Path]], client: Client, tmp_path: Path
) -> None:
    copied = shutil.copytree(dates["CCC"][0].parent, tmp_path / "symbol=CCC")
    file = sorted(copied.glob("*/*.parquet"))[1]
    content = bytearray(file.read_bytes())
    content[200] ^= 255
    file.write_bytes(content)
    with pytest.raises(ValidationError, match=f"{file.parent.name}/{file.name}"):
        list(moments_of_store(tmp_path, SIZES, "buy", SESSION, client=client))
