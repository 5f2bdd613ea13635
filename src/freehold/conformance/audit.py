"""The suite of the audit trail. Needs pytest and pytest-asyncio."""

from __future__ import annotations

import pytest

from freehold.audit.store import AUDIT, AuditEntry
from freehold.conformance.harness import StoresHarness

__all__ = ["AuditStoreConformance"]


class _GivenUp(Exception):
    """Ends a transaction with a rollback."""


def entry(harness: StoresHarness, subject: str, reason: str = "customer called; 'quoted'") -> AuditEntry:
    """An entry with the present time."""
    return AuditEntry(at=harness.clock.now(), actor="ada", action="dead-letter.replay", subject=subject, reason=reason)


class AuditStoreConformance:
    """What every audit trail must do. Bind it with a `harness` fixture."""

    async def test_actions_are_found_newest_first(self, harness: StoresHarness) -> None:
        """All of them, or those of one subject; of equal times, the one written last comes first."""
        entries = [entry(harness, "1"), entry(harness, "2")]
        harness.clock.advance(1)
        entries += [entry(harness, "1", "again"), entry(harness, "1", "once more")]
        async with harness.first.database.begin() as db_tx:
            for one in entries:
                await harness.first[AUDIT].add(db_tx, one)
        audit = (await harness.instance())[AUDIT]
        assert list(await audit.find(None, 10)) == entries[::-1]
        assert list(await audit.find(None, 3)) == entries[:0:-1]
        assert list(await audit.find("1", 10)) == [entries[3], entries[2], entries[0]]
        assert list(await audit.find("3", 10)) == []

    async def test_an_entry_belongs_to_the_transaction_it_tells_of(self, harness: StoresHarness) -> None:
        """An action that was rolled back leaves no entry."""
        with pytest.raises(_GivenUp):
            async with harness.first.database.begin() as db_tx:
                await harness.first[AUDIT].add(db_tx, entry(harness, "1"))
                raise _GivenUp
        assert list(await harness.first[AUDIT].find(None, 10)) == []
