"""What ends the process that handles it parks its stream, like any poison event; what is killed by chance does not."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.forking import forked
from tests.integration.projection.killing import ATTEMPTS, DEADLY, deadly_model
from tests.integration.projection.models import Deposited, append, caught_up, rows, settings_for, until

from freehold import RunningService
from freehold.audit.store import AUDIT
from freehold.eventstore.store import EVENTS, bucket_of
from freehold.failures import CrashLimit
from freehold.projection.declaration import ProjectionContext
from freehold.projection.parked_stream import ParkedStreamRetrier
from freehold.projection.replay_store import REPLAYS
from freehold.projection.store import CHECKPOINTS, ParkedStream

pytestmark = pytest.mark.timeout(300)
_STARTS_MAX = 25


async def _ran(*arguments: str, **environment: str) -> int:
    process = await forked(*arguments, environment=environment)
    async with asyncio.timeout(120):
        return await process.wait()


async def _ends(url: str, **environment: str) -> int:
    """Start the process again and again, as a supervisor does; returns how often it ended before it was done."""
    for ends in range(_STARTS_MAX):
        if await _ran("tests.integration.projection.killing", url, **environment) == 0:
            return ends
    raise AssertionError("the process ends again and again")


async def _the_parked(running: RunningService) -> ParkedStream:
    (found,) = await running.stores[CHECKPOINTS].parked()
    return found


async def test_an_event_that_ends_the_process_parks_its_stream_alone(url: str) -> None:
    """Once with its batch, then as often by itself as the policy permits; all others are applied, each once."""
    model, end = deadly_model(), "exit" if url.startswith("sqlite") else "kill"
    async with RunningService(model.service, settings_for(url), roles=()) as running:
        for number in range(12):
            await append(running, f"a{number}", 1, 2)
        await append(running, "a5", 3, DEADLY, 4)
        await append(running, "a6", 5)
        assert await _ends(url, BANK_END=end) == 1 + ATTEMPTS
        parked = await _the_parked(running)
        assert (parked.stream, parked.version, parked.error, parked.attempts) == (
            "account-a5", 4, "ProcessCrashed", ATTEMPTS,
        )  # fmt: skip
        assert parked.due_seconds is None
        assert "in isolation" in parked.detail
        assert {row[0]: row[1:3] for row in await rows(running, model.accounts)} == {
            **{f"a{number}": (3, 2) for number in range(12)},
            "a5": (6, 3),
            "a6": (8, 3),
        }
        await append(running, "a5", 7)
        await append(running, "a7", 7)
        assert await _ends(url, BANK_END=end) == 0
        assert {row[0]: row[2] for row in await rows(running, model.accounts)}["a7"] == 3
        await _mended(running, url)
        assert {row[0]: row[1:] for row in await rows(running, model.accounts)}["a5"] == (6 + DEADLY + 4 + 7, 6, 6)


async def _mended(running: RunningService, url: str) -> None:
    """With the code mended, the stream goes on with everything that it missed."""
    model = deadly_model()
    async with RunningService(model.service, settings_for(url)) as mended:
        stores = mended.stores
        parking = ParkedStreamRetrier(
            model.projection, mended.transactions, stores[EVENTS], stores[CHECKPOINTS], stores[AUDIT]
        )
        taken_up = await parking.retry_now(1, "account-a5", actor="me", reason="mended")
        assert (taken_up.applied, taken_up.released) == (3, True)
        await until(lambda: caught_up(mended, model))
    assert await running.stores[CHECKPOINTS].parked() == []


async def test_one_that_comes_later_is_found_too(url: str) -> None:
    """Behind batches that went well nothing is written down; the next start does so."""
    model = deadly_model()
    async with RunningService(model.service, settings_for(url), roles=()) as running:
        await append(running, "a", *range(120))
        assert await _ends(url) == 0
        await append(running, "b", *range(70), DEADLY, 1)
        assert await _ends(url, BANK_END="kill") <= 2 + ATTEMPTS
        parked = await _the_parked(running)
        assert (parked.stream, parked.version) == ("account-b", 71)
        assert [row[2] for row in await rows(running, model.accounts)] == [120, 70]


async def test_kills_by_chance_park_nothing(url: str) -> None:
    """In the middle of the first batch, and again and again behind it: each start gets on by an event at least."""
    model = deadly_model()
    async with RunningService(model.service, settings_for(url), roles=()) as running:
        for number in range(6):
            await append(running, f"a{number}", *range(20))
        for _ in range(6):
            await _ran("tests.integration.projection.killing", url, BANK_DOOM="5")
            assert await running.stores[CHECKPOINTS].parked() == []
        assert await _ends(url) == 0
        assert [row[2:] for row in await rows(running, model.accounts)] == [(20, 20)] * 6


async def test_an_event_under_way_when_a_process_ended_waits_for_the_other_partitions(url: str) -> None:
    """A process that is killed again and again after some work of others is not killed beside that same event."""
    model, order = deadly_model(), list[str]()
    model.projection.batch_limit = 2
    handler = model.projection.handlers[Deposited]

    async def noted(event: Deposited, write: ProjectionContext) -> None:
        order.append(event.account)
        await handler(event, write)

    model.projection.handlers[Deposited] = noted
    async with RunningService(model.service, settings_for(url)) as running:
        await append(running, "a", 1)
        await until(lambda: caught_up(running, model))
    async with RunningService(model.service, settings_for(url), roles=()) as running:
        checkpoints = running.stores[CHECKPOINTS]
        found = await checkpoints.checkpoints("accounts", 1)
        place = bucket_of("account-a") % len(found)
        other = next(name for name in "bcdefgh" if bucket_of(f"account-{name}") % len(found) != place)
        await append(running, "a", 2)
        await append(running, other, *range(9))
        async with running.stores.database.begin() as db_tx:
            await checkpoints.begin(
                db_tx, found[place], isolated_position=found[place].position + 1, isolated_attempts=1
            )
    order.clear()
    async with RunningService(model.service, settings_for(url)) as running:
        await until(lambda: caught_up(running, model))
        assert order == [other] * 9 + ["a"]


async def test_a_parked_stream_that_ends_the_process_when_it_is_due_waits_for_a_person(url: str) -> None:
    """What was an error once may be worse the next time; nobody else waits for it."""
    model = deadly_model()
    handler = model.projection.handlers[Deposited]

    async def failing(event: Deposited, write: ProjectionContext) -> None:
        if event.amount == DEADLY:
            raise ValueError("planned")
        await handler(event, write)

    model.projection.handlers[Deposited] = failing
    model.projection.retry = type(model.projection.retry)(attempts=ATTEMPTS, delay_seconds=3600, delay_seconds_max=3600)
    async with RunningService(model.service, settings_for(url)) as running:
        await append(running, "a", 1, DEADLY, 2)
        await until(lambda: caught_up(running, model))
    async with RunningService(model.service, settings_for(url), roles=()) as running:
        parked = await _the_parked(running)
        assert (parked.error, parked.attempts) == ("ValueError", 1)
        await _make_due(running)
        await append(running, "b", 1)
        assert await _ends(url, BANK_END="exit") == ATTEMPTS
        parked = await _the_parked(running)
        assert (parked.error, parked.version, parked.attempts) == ("ProcessCrashed", 2, 1 + ATTEMPTS)
        assert f"retried from here {ATTEMPTS} times and never finished" in parked.detail
        assert parked.due_seconds is None
        assert [row[:3] for row in await rows(running, model.accounts)] == [("a", 1, 1), ("b", 1, 1)]


async def _make_due(running: RunningService) -> None:
    async with running.transaction() as tx:
        await tx.sql.execute("UPDATE freehold_parked SET due_at = parked_at")


async def test_people_take_it_up_event_by_event(url: str, tmp_path: Path) -> None:
    """The command ends as well, and says where: `skip` goes on behind the one that was in progress."""
    settings = _settings(tmp_path, url)

    async def typed(*words: str, end: str = "") -> int:
        why = ("--reason", "a test") if words[0] != "parked" else ()
        return await _ran(
            "freehold.cli.main", "projection", *words, *why, FREEHOLD_SETTINGS=str(settings), BANK_END=end
        )

    model = deadly_model()
    async with RunningService(model.service, settings_for(url), roles=()) as running:
        await append(running, "a", 1, DEADLY, 2, DEADLY, 3)
        await _ends(url, BANK_END="exit")
        assert await typed("parked", "accounts") == 0
        assert await typed("retry", "accounts", "account-a", end="exit") == 11
        parked = await _the_parked(running)
        assert (parked.version, parked.error, parked.attempts) == (2, "ProcessCrashed", ATTEMPTS + 1)
        assert await typed("skip", "accounts", "account-a", "--yes", end="exit") == 11
        parked = await _the_parked(running)
        assert (parked.version, parked.error, parked.due_seconds) == (4, "ProcessCrashed", None)
        assert [row[2] for row in await rows(running, model.entries)] == [1, 2]
        assert await typed("skip", "accounts", "account-a", "--yes", end="exit") == 0
        assert await running.stores[CHECKPOINTS].parked() == []
        assert [row[2] for row in await rows(running, model.entries)] == [1, 2, 3]
        assert {each.action for each in await running.stores[AUDIT].find(None, 10)} == {
            "projection.stream-skip", "projection.stream-retry",
        }  # fmt: skip
        assert await _ends(url, BANK_END="exit") == 0


async def test_a_replay_that_is_ended_keeps_the_event_as_an_error(url: str, tmp_path: Path) -> None:
    """Resumed as often as it takes, it goes on behind it, and tells."""
    settings = _settings(tmp_path, url)
    replay = ("freehold.cli.main", "projection", "replay")
    environment = {"FREEHOLD_SETTINGS": str(settings), "BANK_END": "exit"}
    model = deadly_model()
    async with RunningService(model.service, settings_for(url)) as running:
        await append(running, "a", 1, 2, DEADLY, 3)
        await append(running, "b", 4)
        await until(lambda: caught_up(running, model))
    async with RunningService(model.service, settings_for(url), roles=()) as running:
        codes = [await _ran(*replay, "accounts", "--reason", "a test", **environment)]
        while codes[-1] == 11 and len(codes) < _STARTS_MAX:
            codes.append(await _ran(*replay, "resume", "1", "--reason", "a test", **environment))
        assert codes.count(11) == 1 + CrashLimit().crashes_max
        (done,) = await running.stores[REPLAYS].find("accounts")
        assert (done.state.value, done.applied, done.failed) == ("done", 4, 1)
        (error,) = await running.stores[REPLAYS].errors(done.number)
        assert (error.stream, error.version, error.error) == ("account-a", 3, "ProcessCrashed")


def _settings(directory: Path, url: str) -> Path:
    found = directory / "freehold.toml"
    found.write_text(
        'broker = "memory://"\n[project]\nmodules = ["tests.integration.projection.killing"]\n'
        f'[services.bank]\ndatabase = "{url}"\n'
    )
    return found
