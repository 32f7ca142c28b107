"""What the market showed: books, sessions, readers, and a market whose truth is known."""

from research_lib.market.book import BookSnapshots
from research_lib.market.readers.databento import read_mbp10
from research_lib.market.sessions import Session
from research_lib.market.synthetic import SyntheticMarket, TrueCurve

__all__ = ["BookSnapshots", "Session", "SyntheticMarket", "TrueCurve", "read_mbp10"]
