"""Bugs of the event store, snapshots and consistency tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from tests.faults.planted.bug import Bug, Patch, returns
from tests.faults.planted.scenarios import QuickAccounts

from freehold.aggregate.repository import Repository
from freehold.consistency.gate import FreshnessGate
from freehold.consistency.token import EMPTY_TOKEN
from freehold.consistency.watcher import Fresh
from freehold.inbox.dispatcher import Dispatcher
from freehold.transaction.staging_area import StagingArea

__all__ = ["BUGS"]


def _at_once(patch: Patch) -> None:
    async def wait(self: Any, token: Any, *, projections: Any = (), limit_seconds: float) -> Fresh:
        return Fresh()

    patch.replace(FreshnessGate, "wait", lambda _: wait)


def _token_without_messages(patch: Patch) -> None:
    patch.replace(StagingArea, "_lanes", returns(EMPTY_TOKEN))


def _reached_first(patch: Patch) -> None:
    def make(handle: Callable[..., Any]) -> Callable[..., Any]:
        async def first(self: Any, works: Any, *, watermarks: Mapping[str, int] | None = None, **keywords: Any) -> Any:
            await self.advance(watermarks or {})
            return await handle(self, works, watermarks=watermarks, **keywords)

        return first

    patch.replace(Dispatcher, "handle", make)


def _snapshot_of_before(patch: Patch) -> None:
    def make(save: Callable[..., Any]) -> Callable[..., Any]:
        def before(self: Any, tx: Any, stream: str, result: Any, saved_version: int, *, unfit: bool) -> None:
            earlier = replace(result.state, number=result.state.number - 1, cents=result.state.cents - 1)
            save(self, tx, stream, replace(result, state=earlier), saved_version, unfit=unfit)

        return before

    patch.replace(Repository, "_save_snapshot", make)


BUGS = (
    Bug("wait-returns-at-once", "a read with a token does not wait", _at_once, QuickAccounts),
    Bug("token-ignored", "the token of a write leaves out its messages", _token_without_messages, QuickAccounts),
    Bug(
        "progress-first",
        "a consumer stores how far it is, and then handles the messages",
        _reached_first,
        QuickAccounts,
    ),
    Bug(
        "snapshot-of-the-wrong-version",
        "a snapshot has the state before the last event",
        _snapshot_of_before,
        QuickAccounts,
    ),
)
