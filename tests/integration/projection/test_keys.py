"""What a read model holds of a single stream, made again: on both engines, with writers at work."""

from __future__ import annotations

import pytest
from tests.integration.projection.beside import (
    KEYS,
    WHO,
    actions_of,
    all_rows,
    check_against_cold_fold,
    fill,
    live_is,
    up_to_date,
    writing,
)
from tests.integration.projection.models import (
    append,
    read_model,
    settings_for,
    until,
)

from freehold import Retry, RunningService
from freehold.errors import DeclarationError, NotFound


async def test_a_single_key_is_made_anew(url: str) -> None:
    model = read_model(key_columns=KEYS)
    async with RunningService(model.service, settings_for(url)) as running:
        await fill(running, 60)
        await until(lambda: up_to_date(running))
        for damage in (
            "UPDATE account__g1 SET balance = -1, events = 0 WHERE account = 'a3'",
            "DELETE FROM entry__g1 WHERE account = 'a3'",
            "INSERT INTO entry__g1 (position, account, amount) VALUES (1000000, 'a3', 1)",
        ):
            async with running.transaction() as tx:
                await tx.sql.execute(damage)
        assert await actions_of(running).rebuild_key("accounts", "account-a3", **WHO) == 9
        await check_against_cold_fold(running, model)
        await append(running, "a3", 7)
        await until(lambda: all_rows(running, model, 61))
        await check_against_cold_fold(running, model)
        with pytest.raises(NotFound, match="does not follow"):
            await actions_of(running).rebuild_key("accounts", "order-1", **WHO)


async def test_a_single_key_is_made_anew_beside_writers(url: str) -> None:
    model = read_model(key_columns=KEYS, batch_limit=5)
    async with RunningService(model.service, settings_for(url, poll_seconds=0.02)) as running:
        await fill(running, 60)
        await until(lambda: up_to_date(running))
        async with writing(running) as written:
            for number in range(20):
                await actions_of(running).rebuild_key("accounts", f"account-a{number % 7}", **WHO)
        await until(lambda: all_rows(running, model, 60 + len(written)))
        await check_against_cold_fold(running, model)


async def test_a_parked_stream_is_released_by_making_it_anew(url: str) -> None:
    poison = {8}
    model = read_model(key_columns=KEYS, poison=poison, retry=Retry(attempts=1))
    async with RunningService(model.service, settings_for(url)) as running:
        await fill(running, 30)
        await until(lambda: up_to_date(running))
        actions = actions_of(running)
        assert len(await actions.parked("accounts", 10)) == 1
        with pytest.raises(ValueError, match="planned"):
            await actions.rebuild_key("accounts", "account-a1", **WHO)
        poison.clear()
        await actions.rebuild_key("accounts", "account-a1", **WHO)
        assert await actions.parked("accounts", 10) == []
        await append(running, "a1", 3)
        await until(lambda: all_rows(running, model, 31))
        await check_against_cold_fold(running, model)


async def test_what_cannot_be_told_by_key_is_refused(url: str) -> None:
    model = read_model(key_columns={"account": "account"})
    async with RunningService(model.service, settings_for(url)) as running:
        await until(lambda: live_is(running, 1))
        with pytest.raises(DeclarationError, match="table 'entry'"):
            await actions_of(running).rebuild_key("accounts", "account-a1", **WHO)
