"""An answer that had begun when its database or a service went away. Runtime: imports the foundation.

It cannot become a 503 any more. The error goes on to the server, which closes the connection, so that the client sees
an answer that is not whole; and the log has one line for the outage, not a stack for each answer.
"""

from __future__ import annotations

import logging
from typing import Final

from freehold.errors import Unavailable
from freehold.failures import root_cause

__all__ = ["AnswerCutOff", "tell_once"]

_SERVERS: Final = ("uvicorn.error", "hypercorn.error")


class AnswerCutOff(Unavailable):
    """An outage ended an answer that had begun, or what goes on behind one. `freehold.outages` has told of it."""


class _Told(logging.Filter):
    """Leaves out what a server logs of answers that were cut off."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        return error is None or not isinstance(root_cause(error), AnswerCutOff)


def tell_once() -> None:
    """Have servers log nothing of `AnswerCutOff`. Idempotent."""
    for name in _SERVERS:
        logger = logging.getLogger(name)
        if not any(isinstance(each, _Told) for each in logger.filters):
            logger.addFilter(_Told())
