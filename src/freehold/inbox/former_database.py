"""Notices that a service's database was made again though the service has worked before: its group on the broker has
read messages of which the new one knows nothing. Runtime: imports the ports.

Where the file of a database was deleted while nothing ran, or another database is named, a start makes an empty one.
That is told in the log, and recorded, so that `doctor` says it until somebody has dealt with it.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Final

from freehold.audit.store import AUDIT, AuditEntry
from freehold.broker import Broker
from freehold.clock import Clock
from freehold.database import CheckResult
from freehold.inbox.store import INBOX
from freehold.ports import Stores
from freehold.redaction import shown_url
from freehold.settings import Settings

__all__ = ["examine_former", "is_new", "look_for_former"]

_log = logging.getLogger("freehold.runtime")
_FIRST_STEP: Final = "freehold/outbox"
_MADE_ANEW: Final = "database.made-anew"
_ACKNOWLEDGED: Final = "db.mark"
_ENTRIES_MAX: Final = 100


def is_new(applied: Collection[str]) -> bool:
    """Whether an upgrade that applied these steps has found an empty database."""
    return _FIRST_STEP in applied


async def look_for_former(settings: Settings, stores: Stores, broker: Broker, clock: Clock) -> None:
    """For a database that was just made, before a consumer of this process has begun: see whether the service's group
    has read messages before. Raises `Unavailable`.
    """
    if not broker.features.durable or await stores[INBOX].oldest_receipt_seconds(settings.service) > 0:
        return
    if not any(each.position for each in (await broker.group_state(settings.service)).places):
        return
    where = shown_url(settings.database)
    reason = f"made a new, empty database at {where}; its group on the broker had read messages before"
    _log.warning(
        "%s: %s: was the former database deleted, or is another one meant? restore it, or acknowledge: %s",
        settings.service,
        reason,
        _acknowledge(settings.service),
    )
    async with stores.database.begin() as db_tx:
        entry = AuditEntry(clock.now(), "freehold", _MADE_ANEW, settings.service, reason)
        await stores[AUDIT].add(db_tx, entry)


async def examine_former(service: str, stores: Stores) -> CheckResult:
    """For `doctor`: whether the database was made again, and nobody has said since that this is known."""
    for entry in await stores[AUDIT].find(service, _ENTRIES_MAX):
        if entry.action == _ACKNOWLEDGED:
            break
        if entry.action == _MADE_ANEW:
            detail = f"{entry.reason}, at {entry.at:%Y-%m-%d %H:%M:%SZ}"
            fix = f"restore the former one, or acknowledge: {_acknowledge(service)}"
            return CheckResult("former database", ok=False, detail=detail, fix=fix)
    return CheckResult("former database", ok=True, detail="none is missing")


def _acknowledge(service: str) -> str:
    return f'freehold db mark {service} --instead-of {service} --reason "…"'
