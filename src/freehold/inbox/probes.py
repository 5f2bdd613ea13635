"""The check of `freehold doctor` on deferred messages. Pattern: imports the ports and its package."""

from __future__ import annotations

from collections.abc import Sequence

from freehold.clock import duration
from freehold.context import ServiceContext
from freehold.database import CheckResult
from freehold.inbox.store import INBOX

__all__ = ["probe"]


async def probe(context: ServiceContext) -> Sequence[CheckResult]:
    """Check that no message has been deferred for longer than `deferred_alarm_seconds`. Raises `Unavailable`."""
    inbox = context.stores[INBOX]
    found = await inbox.stats()
    if not found.pending:
        return [CheckResult("deferred", ok=True, detail="none")]
    late = found.oldest_seconds > context.settings.deferred_alarm_seconds
    oldest = next(iter(await inbox.deferred(None, 1)), None)
    reason = f": {oldest.reason}" if oldest is not None and oldest.reason else ""
    detail = f"{found.pending} wait for a retry, the oldest for {duration(found.oldest_seconds)}{reason}"
    fix = "fix what the reason names; each message is retried automatically" if late else ""
    return [CheckResult("deferred", ok=not late, detail=detail, fix=fix)]
