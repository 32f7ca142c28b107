"""What the market showed: books, trades, sessions, readers, quality, and a synthetic market."""

# isort: skip_file

from research_lib.market.book import BookSnapshots, by_day, order_flow_imbalance
from research_lib.market.book import sample_batches, summarise
from research_lib.market.convert import convert
from research_lib.market.presets import PRESETS, deep_stock, preset, thin_stock, wide_spread_stock
from research_lib.market.presets import MarketProfile, market_like, measure_market
from research_lib.market.quality import BookQuality, QualityPolicy, assess
from research_lib.market.readers import iter_books, read_books
from research_lib.market.readers.databento import read_mbp10
from research_lib.market.readers.pairs import read_lobster
from research_lib.market.sessions import Session
from research_lib.market.synthetic import DayShape, Memory, OrderFlow, SyntheticMarket
from research_lib.market.synthetic import TrueCurve, count_quantile
from research_lib.market.trades import Trades, read_daily_bars, returns_before

__all__ = [
    "PRESETS", "BookQuality", "BookSnapshots", "DayShape", "MarketProfile", "Memory", "OrderFlow",
    "QualityPolicy", "Session", "SyntheticMarket", "Trades", "TrueCurve", "assess", "by_day",
    "convert", "count_quantile", "deep_stock", "iter_books", "market_like",
    "measure_market", "order_flow_imbalance", "preset", "read_books",
    "read_daily_bars", "read_lobster", "read_mbp10", "returns_before", "sample_batches",
    "summarise", "thin_stock", "wide_spread_stock",
]  # fmt: skip
