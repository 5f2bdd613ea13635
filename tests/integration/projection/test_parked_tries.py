"""What is seen of a parked stream while it is tried again, and what is made of a try that nobody came back from."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest
from tests.integration.projection.models import (
    Deposited,
    ReadModel,
    append,
    caught_up,
    read_model,
    rows,
    settings_for,
    until,
)

from freehold import Retry, RunningService
from freehold.audit.store import AUDIT
from freehold.errors import Unavailable
from freehold.eventstore.store import EVENTS
from freehold.projection.declaration import ProjectionContext
from freehold.projection.parked_stream import ParkedStreamRetrier
from freehold.projection.store import CHECKPOINTS, ParkedStream

_ATTEMPTS = 3


class _Trying:
    """A read model whose event of 7 fails, and then does what it is told to."""

    def __init__(self) -> None:
        self.begun, self.go_on = asyncio.Event(), asyncio.Event()
        self.parked_once = False
        self.error: Exception | None = ValueError("planned")
        self.model = read_model(retry=Retry(attempts=_ATTEMPTS, delay_seconds=3600, delay_seconds_max=3600))
        handler = self.model.projection.handlers[Deposited]

        async def trying(event: Deposited, write: ProjectionContext) -> None:
            if event.amount == 7:
                if self.parked_once:
                    self.begun.set()
                    await self.go_on.wait()
                if self.error is not None:
                    raise self.error
            await handler(event, write)

        self.model.projection.handlers[Deposited] = trying

    async def park(self, url: str) -> None:
        async with RunningService(self.model.service, settings_for(url)) as running:
            await append(running, "a", 1, 7, 2)
            await until(lambda: caught_up(running, self.model))
        self.parked_once = True


def _parking(running: RunningService, model: ReadModel) -> ParkedStreamRetrier:
    stores = running.stores
    return ParkedStreamRetrier(
        model.projection, running.transactions, stores[EVENTS], stores[CHECKPOINTS], stores[AUDIT]
    )


async def _the_parked(running: RunningService) -> ParkedStream:
    (found,) = await running.stores[CHECKPOINTS].parked()
    return found


async def _set(running: RunningService, what: str) -> None:
    async with running.transaction() as tx:
        await tx.sql.execute(f"UPDATE freehold_parked SET {what}")


async def test_a_stream_that_is_tried_does_not_wait_for_a_person_yet(url: str) -> None:
    """Until it is known what came of it, it shows the error of before, and that it is begun; the last time too."""
    trying = _Trying()
    await trying.park(url)
    async with RunningService(trying.model.service, settings_for(url), roles=()) as running:
        await _set(running, f"attempts = {_ATTEMPTS - 1}")
        parked = await _the_parked(running)
        attempt = asyncio.create_task(_parking(running, trying.model).retry(parked))
        async with asyncio.timeout(60):
            await trying.begun.wait()
        seen = await _the_parked(running)
        assert (seen.error, seen.started_attempts, seen.attempts) == ("ValueError", 1, _ATTEMPTS)
        assert seen.due_seconds is not None
        trying.go_on.set()
        assert (await attempt).parked is not None
        seen = await _the_parked(running)
        assert (seen.error, seen.started_attempts, seen.attempts, seen.due_seconds) == (
            "ValueError",
            0,
            _ATTEMPTS,
            None,
        )


@pytest.mark.parametrize("mended", [True, False])
async def test_one_end_in_the_last_attempt_is_no_proof(url: str, mended: bool) -> None:
    """A process is killed for many reasons: it is tried again, and what comes of that counts."""
    trying = _Trying()
    await trying.park(url)
    trying.go_on.set()
    if mended:
        trying.error = None
    async with RunningService(trying.model.service, settings_for(url), roles=()) as running:
        await _set(running, f"attempts = {_ATTEMPTS}, started_attempts = 1, due_at = parked_at")
        async with RunningService(trying.model.service, settings_for(url)) as working:

            async def known() -> bool:
                found = await working.stores[CHECKPOINTS].parked()
                return all(each.due_seconds is None for each in found)

            await until(known)
        if mended:
            assert await running.stores[CHECKPOINTS].parked() == []
            assert [row[1:] for row in await rows(running, trying.model.accounts)] == [(10, 3, 3)]
        else:
            parked = await _the_parked(running)
            assert (parked.error, parked.started_attempts) == ("ValueError", 0)


async def test_an_outage_that_lasts_is_no_end(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database is still away when a try is to be taken back: that is done before the next one here."""
    trying = _Trying()
    await trying.park(url)
    trying.go_on.set()
    trying.error = Unavailable("away")
    async with RunningService(trying.model.service, settings_for(url), roles=()) as running:
        parking, checkpoints = _parking(running, trying.model), running.stores[CHECKPOINTS]
        park, away = checkpoints.park, list[bool]()

        async def failing(*given: Any) -> Any:
            if away:
                raise Unavailable(f"still away {away.pop()}")
            away.append(True)
            return await park(*given)

        monkeypatch.setattr(checkpoints, "park", failing)
        for _ in range(4 * _ATTEMPTS):
            with suppress(Unavailable):
                await parking.retry(await _the_parked(running))
        seen = await _the_parked(running)
        assert (seen.error, seen.attempts) in {("ValueError", 1), ("ValueError", 2)}
        assert seen.started_attempts <= 1
        monkeypatch.undo()
        if seen.started_attempts:
            assert parking.pending_correction
            await parking.uncount()
            assert ((await _the_parked(running)).started_attempts, parking.pending_correction) == (0, "")
        trying.error = None
        assert (await parking.retry(await _the_parked(running))).released
