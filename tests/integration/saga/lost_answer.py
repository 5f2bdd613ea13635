"""A connection that is lost behind a commit, or before it: the caller does not know which."""

from __future__ import annotations

from typing import Any

import pytest
from tests.integration.saga.bench import Bench

from freehold.errors import Unavailable


async def lose_answer(at: Bench, patch: pytest.MonkeyPatch, *, committed: bool = True) -> None:
    """Let the next commit have no answer. Skips where a commit always has one."""
    if at.stores.database.features.technology == "memory":
        pytest.skip("its commits always have an answer")
    async with at.transactions.begin() as tx:
        of: Any = tx.db_tx
        pooled = type(of.pooled.sql)
    commit, cuts = pooled.commit, [True]

    async def lost(self: Any) -> None:
        if not cuts:
            await commit(self)
            return
        cuts.clear()
        await (commit(self) if committed else self.rollback())
        raise Unavailable("the connection is lost")

    patch.setattr(pooled, "commit", lost)
