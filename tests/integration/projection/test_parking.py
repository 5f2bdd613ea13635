"""A poison event parks its stream alone: retried, waiting for an operator, taken up again without a gap."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from tests.integration.projection.engines import WITH_MARIADB, empty_database
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
from freehold.errors import ConcurrencyConflict, DatabaseError, NotFound, OperationTimeout, Unavailable
from freehold.eventstore.store import EVENTS, Append, NewEvent
from freehold.ids import new_id
from freehold.projection.declaration import ProjectionContext
from freehold.projection.parked_stream import ParkedStreamRetrier
from freehold.projection.store import CHECKPOINTS, ParkedStream

_ONCE = Retry(attempts=1)


@pytest.fixture(params=WITH_MARIADB)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database."""
    return empty_database(request, tmp_path)


def _parking(running: RunningService, model: ReadModel) -> ParkedStreamRetrier:
    stores = running.stores
    return ParkedStreamRetrier(
        model.projection, running.transactions, stores[EVENTS], stores[CHECKPOINTS], stores[AUDIT]
    )


async def _parked(running: RunningService) -> list[ParkedStream]:
    return list(await running.stores[CHECKPOINTS].parked())


async def _given_up(running: RunningService) -> bool:
    parked = await _parked(running)
    return bool(parked) and all(each.due_seconds is None for each in parked)


@pytest.mark.parametrize("batch", [False, True])
async def test_one_stream_is_parked_and_all_others_go_on(url: str, batch: bool) -> None:
    """What came before the poison in its stream stands, what came after waits; nothing else notices."""
    model = read_model(batch=batch, poison={13}, retry=_ONCE)
    async with RunningService(model.service, settings_for(url), roles=()) as running:
        for number in range(20):
            await append(running, f"a{number % 4}", number)
        await append(running, "a0", 100)
    async with RunningService(model.service, settings_for(url)) as running:
        await until(lambda: caught_up(running, model))
        assert [(account, events) for account, _, events, _ in await rows(running, model.accounts)] == [
            ("a0", 6), ("a1", 3), ("a2", 5), ("a3", 5),
        ]  # fmt: skip
        (parked,) = await _parked(running)
        assert (parked.stream, parked.version, parked.error, parked.attempts) == ("account-a1", 4, "ValueError", 1)
        assert "models.py" in parked.detail
        assert "planned" not in parked.detail
        await append(running, "a1", 1, 2)
        await append(running, "a2", 3)
        await until(lambda: caught_up(running, model))
        assert [row[2] for row in await rows(running, model.accounts)] == [6, 3, 6, 5]
        counts = await running.stores[CHECKPOINTS].checkpoints()
        assert sum(each.failed for each in counts) == 1
        assert sum(each.handled for each in counts) == 20


async def test_a_stream_that_mends_goes_on_by_itself(url: str) -> None:
    """Retried by policy, with everything that it missed, in order."""
    poison = {2}
    model = read_model(poison=poison, retry=Retry(attempts=50, delay_seconds=0.05, delay_seconds_max=0.1))
    async with RunningService(model.service, settings_for(url)) as running:
        await append(running, "a", 1, 2, 3)
        await until(lambda: _parked(running))
        await append(running, "a", 4, 5)
        await until(lambda: caught_up(running, model))
        assert [row[2:] for row in await rows(running, model.accounts)] == [(1, 1)]
        poison.clear()
        await until(lambda: _released(running))
        assert [row[1:] for row in await rows(running, model.accounts)] == [(15, 5, 5)]
        await append(running, "a", 6)
        await until(lambda: caught_up(running, model))
        assert [row[1:] for row in await rows(running, model.accounts)] == [(21, 6, 6)]


async def _released(running: RunningService) -> bool:
    return not await _parked(running)


async def test_after_the_last_attempt_it_waits_for_a_person(url: str) -> None:
    """Who mends the code resumes it: applied through the checkpoint, with an entry in the audit."""
    poison = {2}
    model = read_model(poison=poison)
    async with RunningService(model.service, settings_for(url)) as running:
        await append(running, "a", 1, 2, 3)
        await until(lambda: _given_up(running))
        (parked,) = await _parked(running)
        assert parked.attempts == 3
        parking = _parking(running, model)
        again = await parking.retry_now(1, "account-a", actor="me", reason="try")
        assert again.parked is not None
        assert (again.applied, again.parked.attempts, again.released) == (0, 4, False)
        poison.clear()
        await append(running, "a", 4)
        taken_up = await parking.retry_now(1, "account-a", actor="me", reason="mended")
        assert taken_up.released
        await append(running, "a", 5)
        await until(lambda: caught_up(running, model))
        assert [row[1:] for row in await rows(running, model.accounts)] == [(15, 5, 5)]
        assert [each.reason for each in await running.stores[AUDIT].find(None, 10)] == ["mended", "try"]
        with pytest.raises(NotFound):
            await parking.retry_now(1, "account-a", actor="me", reason="again")


async def test_skip_goes_on_behind_the_poison(url: str) -> None:
    """Also to the next one, where it is parked again."""
    model = read_model(poison={2, 4}, retry=_ONCE)
    async with RunningService(model.service, settings_for(url)) as running:
        await append(running, "a", 1, 2, 3, 4, 5)
        await until(lambda: caught_up(running, model))
        parking = _parking(running, model)
        first = await parking.skip(1, "account-a", actor="me", reason="it never was")
        assert first.parked is not None
        assert (first.applied, first.parked.version, first.parked.attempts) == (1, 4, 1)
        assert [row[2] for row in await rows(running, model.entries)] == [1, 3]
        second = await parking.skip(1, "account-a", actor="me", reason="nor this")
        assert (second.applied, second.released) == (1, True)
        assert [row[2] for row in await rows(running, model.entries)] == [1, 3, 5]
        assert {each.action for each in await running.stores[AUDIT].find(None, 10)} == {"projection.stream-skip"}


async def test_a_long_stream_is_taken_up_whole(url: str) -> None:
    """More events than one read brings."""
    poison = {1}
    model = read_model(poison=poison, retry=_ONCE)
    async with RunningService(model.service, settings_for(url)) as running:
        await append(running, "a", *[1] * 1200)
        await until(lambda: caught_up(running, model))
        poison.clear()
        assert (await _parking(running, model).retry_now(1, "account-a", actor="me", reason="")).applied == 1200
        assert [row[1:] for row in await rows(running, model.accounts)] == [(1200, 1200, 1200)]


async def test_an_event_that_cannot_be_read_parks_its_stream(url: str) -> None:
    """As does one of a version that this code does not know."""
    model = read_model(retry=_ONCE)
    async with RunningService(model.service, settings_for(url)) as running:
        broken = NewEvent(new_id(), "bank.deposited", 1, b'{"account": 7}', new_id(), 1)
        unknown = NewEvent(new_id(), "bank.deposited", 9, b"{}", new_id(), 1)
        await running.stores[EVENTS].append_now([Append("account-b", [broken]), Append("account-u", [unknown])])
        await append(running, "a", 1)
        await until(lambda: caught_up(running, model))
        assert {each.stream: each.error for each in await _parked(running)} == {
            "account-b": "CodecError",
            "account-u": "UnknownMessage",
        }
        assert [row[0] for row in await rows(running, model.accounts)] == ["a"]


async def test_a_statement_that_the_database_refuses_is_poison(url: str) -> None:
    """The transaction of the batch is of no use any more on PostgreSQL; the event alone is to blame."""
    model = read_model(retry=_ONCE)
    handler = model.projection.handlers[Deposited]

    async def failing(event: Deposited, write: ProjectionContext) -> None:
        if event.amount == 7:
            await write.connection.execute(sa.text("INSERT INTO nowhere VALUES (1)"))
        await handler(event, write)

    model.projection.handlers[Deposited] = failing
    async with RunningService(model.service, settings_for(url)) as running:
        await append(running, "a", 1, 7, 2)
        await append(running, "b", 1)
        await until(lambda: caught_up(running, model))
        assert [row[0:3] for row in await rows(running, model.accounts)] == [("a", 1, 1), ("b", 1, 1)]
        (parked,) = await _parked(running)
        assert parked.error == "DatabaseError"
        assert "at tests/integration/projection/test_parking.py:" in parked.detail


@pytest.mark.parametrize("error", [Unavailable("away"), ConcurrencyConflict("first")])
async def test_what_says_nothing_of_the_event_parks_nothing(url: str, error: Exception) -> None:
    """The batch comes again until it goes through."""
    model = read_model()
    handler = model.projection.handlers[Deposited]
    failures = [error] * 3

    async def failing(event: Deposited, write: ProjectionContext) -> None:
        if failures:
            raise failures.pop()
        await handler(event, write)

    model.projection.handlers[Deposited] = failing
    async with RunningService(model.service, settings_for(url)) as running:
        await append(running, "a", 1, 2, 3)
        await until(lambda: caught_up(running, model))
        assert await _parked(running) == []
        assert [row[1:] for row in await rows(running, model.accounts)] == [(6, 3, 3)]


async def test_too_many_parked_streams_pause_it(url: str) -> None:
    """It is the code then; nothing moves until an operator has looked at it."""
    model = read_model(poison={1}, retry=_ONCE, parked_max=3)
    async with RunningService(model.service, settings_for(url)) as running:
        for number in range(10):
            await append(running, f"a{number}", 1)
        await until(lambda: running.stores[CHECKPOINTS].pauses("accounts"))
        (pause,) = await running.stores[CHECKPOINTS].pauses("accounts")
        assert pause.generation == 1
        assert "parked" in pause.reason
        assert len(await _parked(running)) <= 5
        assert not await caught_up(running, model)


async def test_a_hanging_handler_parks_its_stream(url: str) -> None:
    """Every wait has a limit."""
    model = read_model(retry=Retry(attempts=50, delay_seconds=0.05, delay_seconds_max=0.1))
    handler = model.projection.handlers[Deposited]

    async def hanging(event: Deposited, write: ProjectionContext) -> None:
        if event.amount == 7:
            await _never()
        await handler(event, write)

    model.projection.handlers[Deposited] = hanging
    async with RunningService(model.service, settings_for(url, handler_timeout_seconds=0.3)) as running:
        await append(running, "a", 7)
        await append(running, "b", 1)
        await until(lambda: caught_up(running, model))
        await until(lambda: _holds_others(running, model))
        assert [each.error for each in await _parked(running)] == ["TimeoutError"]


async def test_a_handler_that_hangs_again_holds_nobody_up(url: str) -> None:
    """Trying a parked stream again has the same limit."""
    model = read_model(retry=Retry(attempts=2, delay_seconds=0.05))
    handler = model.projection.handlers[Deposited]

    async def hanging(event: Deposited, write: ProjectionContext) -> None:
        if event.amount == 7:
            await _never()
        await handler(event, write)

    model.projection.handlers[Deposited] = hanging
    async with RunningService(model.service, settings_for(url, handler_timeout_seconds=0.3)) as running:
        await append(running, "a", 7)
        await until(lambda: _given_up(running))
        await append(running, "b", 1)
        await until(lambda: caught_up(running, model))
        await until(lambda: _holds_others(running, model))
        assert [(each.error, each.attempts) for each in await _parked(running)] == [("TimeoutError", 2)]


async def test_a_statement_that_is_slow_again_holds_nobody_up(url: str) -> None:
    """What says nothing of an event in a batch keeps a stream parked that is parked already."""
    model = read_model(poison={7}, retry=Retry(attempts=2, delay_seconds=0.05))
    handler = model.projection.handlers[Deposited]

    async def slow(event: Deposited, write: ProjectionContext) -> None:
        if event.amount == 7 and write.recorded.version in {parked.version for parked in await _parked(running)}:
            raise OperationTimeout("a statement ran too long")
        await handler(event, write)

    model.projection.handlers[Deposited] = slow
    async with RunningService(model.service, settings_for(url)) as running:
        await append(running, "a", 7)
        await until(lambda: _given_up(running))
        await append(running, "b", 1)
        await until(lambda: caught_up(running, model))
        assert [(each.error, each.attempts) for each in await _parked(running)] == [("OperationTimeout", 2)]


async def test_an_error_beside_a_parked_stream_does_not_move_it(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was not tried: parked again at a later event, it would never come back to what it waits at."""
    poison = {2}
    model = read_model(poison=poison, retry=_ONCE)
    async with RunningService(model.service, settings_for(url)) as running:
        await append(running, "a", 1, 2, 3)
        await until(lambda: caught_up(running, model))
        checkpoints, errors = running.stores[CHECKPOINTS], [DatabaseError("disk full")]
        advance = checkpoints.advance

        async def failing(*given: Any) -> Any:
            if errors:
                raise errors.pop()
            return await advance(*given)

        monkeypatch.setattr(checkpoints, "advance", failing)
        await append(running, "a", 4)
        await until(lambda: caught_up(running, model))
        assert [each.version for each in await _parked(running)] == [2]
        poison.clear()
        await _parking(running, model).retry_now(1, "account-a", actor="me", reason="mended")
        assert [row[2] for row in await rows(running, model.entries)] == [1, 2, 3, 4]


async def _holds_others(running: RunningService, model: ReadModel) -> bool:
    """Whether the other stream came through: a busy machine may have kept it for its time, and parked it first."""
    shown = [row[0] for row in await rows(running, model.accounts)]
    return shown == ["b"] and [each.stream for each in await _parked(running)] == ["account-a"]


async def _never() -> None:
    await asyncio.get_running_loop().create_future()
