"""Files that belong together by their names: LOBSTER's orderbook and message, Lean's quote and trade."""

from __future__ import annotations

import re
from pathlib import Path

KIND = re.compile(r"orderbook|message|quote|trade", re.IGNORECASE)
PARTNER = {"orderbook": "message", "message": "orderbook", "quote": "trade", "trade": "quote"}
READ_ALONG = ("message", "trade")  # without books of their own
SUFFIXES = ("", ".gz", ".zst")


def kind_of(path: Path) -> str | None:
    """The last of "orderbook", "message", "quote", "trade" in a file's name; None where there is none."""
    found = KIND.findall(path.name)
    return str(found[-1]).lower() if found else None


def partner_of(path: Path) -> Path | None:
    """The file that belongs to `path` by its name, under any compression; None where there is none."""
    name = partner_name(path)
    if name is None:
        return None
    stem = re.sub(r"\.(gz|zst)$", "", name)
    candidates = (path.with_name(one) for one in (name, *(stem + suffix for suffix in SUFFIXES)))
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def partner_name(path: Path) -> str | None:
    """Name of the other file of the pair, under the same compression; None where the name says no kind."""
    kind = kind_of(path)
    if kind is None:
        return None
    last = list(KIND.finditer(path.name))[-1]
    return path.name[: last.start()] + PARTNER[kind] + path.name[last.end() :]
