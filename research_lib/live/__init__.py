"""The decisions of a study on a feed: events in, child orders as JSON lines out; none is sent.

The stub beside this file lists its names; each loads its module when first used.
"""

from research_lib.lazy import names_of_stub

__getattr__, __dir__, __all__ = names_of_stub(__name__, __file__)
