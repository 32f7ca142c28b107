"""What the market showed: books, trades, sessions, readers, quality, and a market whose truth is known."""

from research_lib.market.book import BookSnapshots
from research_lib.market.calibration import MarketProfile, measure_market, profile_distances
from research_lib.market.microstructure import (
    depth_within,
    imbalance,
    microprice,
    order_flow_imbalance,
    summarise,
)
from research_lib.market.presets import preset
from research_lib.market.quality import BookQuality, QualityPolicy, assess
from research_lib.market.readers import iter_books, read_books
from research_lib.market.readers.databento import read_mbp10
from research_lib.market.readers.lobster import read_lobster
from research_lib.market.sessions import Session
from research_lib.market.synthetic import SyntheticMarket, TrueCurve
from research_lib.market.trades import Trades

__all__ = [
    "BookQuality",
    "BookSnapshots",
    "MarketProfile",
    "QualityPolicy",
    "Session",
    "SyntheticMarket",
    "Trades",
    "TrueCurve",
    "assess",
    "depth_within",
    "imbalance",
    "iter_books",
    "measure_market",
    "microprice",
    "order_flow_imbalance",
    "preset",
    "profile_distances",
    "read_books",
    "read_lobster",
    "read_mbp10",
    "summarise",
]
