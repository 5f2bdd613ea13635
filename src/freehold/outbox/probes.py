"""The check of `freehold doctor` on the outbox. Pattern: imports the ports and its package."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from freehold.clock import duration
from freehold.context import ServiceContext
from freehold.database import CheckResult
from freehold.outbox.store import OUTBOX

__all__ = ["LATE_SECONDS", "probe"]

LATE_SECONDS: Final = 60.0
"""How long a message may wait to be published, or to be read, before `doctor` reports it."""


async def probe(context: ServiceContext) -> Sequence[CheckResult]:
    """Check that staged messages are published in time. Raises `Unavailable`."""
    outbox = await context.stores[OUTBOX].stats()
    if not outbox.pending:
        return [CheckResult("outbox", ok=True, detail="empty")]
    late = outbox.oldest_seconds > LATE_SECONDS
    detail = f"{outbox.pending} wait, the oldest for {duration(outbox.oldest_seconds)}"
    fix = "is a relay running (freehold ps), and the broker up?" if late else ""
    return [CheckResult("outbox", ok=not late, detail=detail, fix=fix)]
