"""A connection that is lost behind a commit, or before it: the caller does not know which."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.integration.saga.bench import Bench

from freehold.errors import Unavailable


async def lose_answer(
    at: Bench, patch: pytest.MonkeyPatch, *, committed: bool = True, when: Callable[[], bool] = lambda: True
) -> None:
    """Let the next commit have no answer, once `when` is true. Skips where a commit always has one."""
    if at.stores.database.features.technology == "memory":
        pytest.skip("its commits always have an answer")
    async with at.transactions.begin() as tx:
        of: Any = tx.db_tx
        pooled = type(of.pooled.sql)
    cuts = [True]

    def losing(commit: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def lost(self: Any, *calls: Any) -> Any:
            if not cuts or not when():
                return await commit(self, *calls)
            cuts.clear()
            await (commit(self, *calls) if committed else self.rollback())
            raise Unavailable("the connection is lost")

        return lost

    for name in ("commit", "commit_after"):  # with calls that go with the COMMIT, on an engine that has it
        if hasattr(pooled, name):
            patch.setattr(pooled, name, losing(getattr(pooled, name)))
