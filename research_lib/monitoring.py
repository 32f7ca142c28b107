"""What happens while the library runs: logs and the memory guard."""

from __future__ import annotations

import logging
from logging.handlers import RotatingFileHandler
from pathlib import Path

from research_lib.errors import MemoryLimitError, ValidationError

LOG_FORMAT = "%(asctime)s - %(name)s - %(levelname)s - %(message)s"


def configure_logging(
    level: int | str = logging.INFO,
    log_file: str | Path | None = None,
    *,
    max_bytes: int = 10_000_000,
    backup_count: int = 5,
) -> logging.Logger:
    """Send the library's log to the error stream and, if asked, to a rotating file.

    Only doors (command line, notebooks, services) call this; importing the library
    configures nothing. A second call replaces the handlers of the first.

    Parameters
    ----------
    level : int or str
        Least severity shown, as in `logging`.
    log_file : path, optional
        File that is rotated at `max_bytes` and kept `backup_count` times.

    Returns
    -------
    logging.Logger
        The logger ``research_lib``, parent of every module's logger.
    """
    logger = logging.getLogger("research_lib")
    try:
        logger.setLevel(level)
    except (ValueError, TypeError) as error:
        raise ValidationError(f"log level {level!r} is unknown; use DEBUG, INFO, WARNING or ERROR") from error
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    for handler in _handlers(log_file, max_bytes, backup_count):
        handler.setFormatter(logging.Formatter(LOG_FORMAT))
        logger.addHandler(handler)
    logger.propagate = False
    return logger


def _handlers(log_file: str | Path | None, max_bytes: int, backup_count: int) -> list[logging.Handler]:
    handlers: list[logging.Handler] = [logging.StreamHandler()]
    if log_file is not None:
        Path(log_file).parent.mkdir(parents=True, exist_ok=True)
        handlers.append(
            RotatingFileHandler(log_file, maxBytes=max_bytes, backupCount=backup_count, delay=True, encoding="utf-8")
        )
    return handlers


def require_memory(n_bytes: float, limit_mb: float, what: str, remedy: str) -> None:
    """Refuse work whose estimated size exceeds the limit, before anything is built.

    Raises
    ------
    MemoryLimitError
        Naming the work, its estimated MB (1e6 bytes), the limit and the remedy.
    """
    needed = n_bytes / 1e6
    if needed > limit_mb:
        raise MemoryLimitError(
            f"{what} would need about {needed:,.0f} MB, memory_limit_mb is {limit_mb:,.0f}; "
            f"{remedy} or raise memory_limit_mb"
        )
