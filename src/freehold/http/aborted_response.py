"""Responses that an outage aborts after they have begun. Runtime: imports the foundation.

Such a response cannot become a 503 any more. The error is raised to the server, which closes the connection, so that
the client sees an incomplete response. The log has one line for the outage, not a stack for each response.
"""

from __future__ import annotations

import logging
from typing import Final

from freehold.errors import Unavailable
from freehold.failures import root_cause

__all__ = ["ResponseAborted", "install_log_filter"]

_SERVERS: Final = ("uvicorn.error", "hypercorn.error")


class ResponseAborted(Unavailable):
    """An outage aborted a response that had begun, or background work after one. `freehold.outages` has logged it."""


class _AbortedFilter(logging.Filter):
    """Drops a server's log records of `ResponseAborted`."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        return error is None or not isinstance(root_cause(error), ResponseAborted)


def install_log_filter() -> None:
    """Make HTTP servers log nothing about `ResponseAborted`. Idempotent."""
    for name in _SERVERS:
        logger = logging.getLogger(name)
        if not any(isinstance(each, _AbortedFilter) for each in logger.filters):
            logger.addFilter(_AbortedFilter())
