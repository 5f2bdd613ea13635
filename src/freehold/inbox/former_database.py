"""The check for a database that is new although its service has worked before: the service's group on the broker has
read messages of which the database knows nothing. Runtime: imports the ports.

If the file of a database was deleted while nothing ran, or the settings name another database, a start makes an empty
one. This is logged and recorded, so that `doctor` reports it until an operator acknowledges it.
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

__all__ = ["check_former_database", "is_new", "warn_of_former_database"]

_log = logging.getLogger("freehold.runtime")
_FIRST_STEP: Final = "freehold/outbox"
_MADE_ANEW: Final = "database.made-anew"
_ACKNOWLEDGED: Final = "db.mark"
_ENTRIES_MAX: Final = 100


def is_new(applied: Collection[str]) -> bool:
    """Whether the database was empty before an upgrade that applied these steps."""
    return _FIRST_STEP in applied


async def warn_of_former_database(settings: Settings, stores: Stores, broker: Broker, clock: Clock) -> None:
    """Warn if the service's group on the broker has read messages before. Called for a new database, before a consumer
    of this process starts. Raises `Unavailable`.
    """
    if not broker.features.durable or await stores[INBOX].oldest_receipt_seconds(settings.service) > 0:
        return
    if not any(each.position for each in (await broker.group_state(settings.service)).places):
        return
    where = shown_url(settings.database)
    reason = f"created a new, empty database at {where}, but its group on the broker has read messages before"
    _log.warning(
        "%s: %s: was the former database deleted, or do the settings name another one? Restore it, or acknowledge: %s",
        settings.service,
        reason,
        _acknowledge(settings.service),
    )
    async with stores.database.begin() as db_tx:
        entry = AuditEntry(clock.now(), "freehold", _MADE_ANEW, settings.service, reason)
        await stores[AUDIT].add(db_tx, entry)


async def check_former_database(service: str, stores: Stores) -> CheckResult:
    """Check for `doctor` that the database replaces no former one, unless an operator has acknowledged it."""
    for entry in await stores[AUDIT].find(service, _ENTRIES_MAX):
        if entry.action == _ACKNOWLEDGED:
            break
        if entry.action == _MADE_ANEW:
            detail = f"{entry.reason}, at {entry.at:%Y-%m-%d %H:%M:%SZ}"
            fix = f"restore the former database, or acknowledge: {_acknowledge(service)}"
            return CheckResult("former database", ok=False, detail=detail, fix=fix)
    return CheckResult("former database", ok=True, detail="none is missing")


def _acknowledge(service: str) -> str:
    return f'freehold db mark {service} --instead-of {service} --reason "…"'
