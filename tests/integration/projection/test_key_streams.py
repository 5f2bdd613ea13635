"""Several streams that make the rows of one key, made again together: on each engine."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from tests.integration.projection.beside import WHO, actions_of, up_to_date
from tests.integration.projection.engines import WITH_MARIADB, empty_database
from tests.integration.projection.models import rows, settings_for, until

from freehold import Retry, RunningService, Service, event
from freehold.errors import DeclarationError
from freehold.eventstore.store import EVENTS, Append, NewEvent
from freehold.ids import new_id
from freehold.messages import encode_body
from freehold.projection.declaration import KeyLookup, Projection, ProjectionContext

POISON = "poison"
_ON_CONFLICT = """INSERT INTO {} AS t (team, words) VALUES ($1, $2)
    ON CONFLICT (team) DO UPDATE SET words = t.words || ' ' || excluded.words"""
_ON_DUPLICATE_KEY = """INSERT INTO {} (team, words) VALUES ($1, $2)
    ON DUPLICATE KEY UPDATE words = concat(words, ' ', VALUES(words))"""


@pytest.fixture(params=WITH_MARIADB)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database."""
    return empty_database(request, tmp_path)


@event("league.said", key="who")
class Said:
    who: str
    team: str
    text: str


class League:
    """What was said in a team, by the team itself and by its members, in one row; the next word behind the last."""

    def __init__(self) -> None:
        self.poisonous = True
        self.table = sa.Table(
            "talk",
            sa.MetaData(),
            sa.Column("team", sa.Text, primary_key=True),
            sa.Column("words", sa.Text, nullable=False),
        )
        self.projection = Projection(
            "talks",
            tables=(self.table,),
            categories={"team", "member"},
            partitions=1,
            retry=Retry(attempts=1),
            key_columns={"talk": {"team": "team"}},
            key_streams=self.members,
        )
        self.projection.on(Said)(self.said)
        self.service = Service("league")
        self.service.projects(self.projection)

    async def members(self, stream: str, lookup: KeyLookup) -> Collection[str]:
        team = stream.partition("-")[2]
        return {stored.stream async for said, stored in lookup.events(Said) if said.team == team}

    async def said(self, said: Said, write: ProjectionContext) -> None:
        if said.text == POISON and self.poisonous:
            raise ValueError("planned")
        upsert = _ON_DUPLICATE_KEY if write.connection.dialect.name == "mariadb" else _ON_CONFLICT
        await write.sql.execute(upsert.format(write.name(self.table)), (said.team, said.text))


async def say(running: RunningService, stream: str, team: str, text: str) -> None:
    said = NewEvent(new_id(), "league.said", 1, encode_body(Said(stream, team, text)), new_id(), 1)
    await running.stores[EVENTS].append_now([Append(stream, [said])])


async def fill(running: RunningService) -> None:
    for number in range(6):
        await say(running, f"member-{number % 2}", "a", f"m{number}")
        await say(running, "team-a", "a", f"t{number}")
        await say(running, "team-b", "b", f"b{number}")
    await until(lambda: up_to_date(running))


async def talk(running: RunningService, league: League) -> Any:
    return dict(await rows(running, league.table))


async def damage(running: RunningService) -> None:
    async with running.transaction() as tx:
        await tx.sql.execute("UPDATE talk__g1 SET words = 'edited'")


async def test_events_of_all_streams_of_a_key_are_applied_in_order_of_position(url: str) -> None:
    league = League()
    async with RunningService(league.service, settings_for(url)) as running:
        await fill(running)
        before = await talk(running, league)
        await damage(running)
        assert await actions_of(running).rebuild_key("talks", "team-a", **WHO) == 12
        assert await talk(running, league) == {"a": before["a"], "b": "edited"}
        assert before["a"].split() == [f"{who}{number}" for number in range(6) for who in "mt"]


async def test_parked_streams_of_a_key_are_released_by_making_it_anew(url: str) -> None:
    league = League()
    async with RunningService(league.service, settings_for(url)) as running:
        await fill(running)
        for stream in ("member-0", "member-1"):
            await say(running, stream, "a", POISON)
            await say(running, stream, "a", "behind")
        await until(lambda: up_to_date(running))
        actions = actions_of(running)
        assert {each.stream for each in await actions.parked("talks", 10)} == {"member-0", "member-1"}
        before = await talk(running, league)
        with pytest.raises(ValueError, match="planned"):
            await actions.rebuild_key("talks", "team-a", **WHO)
        assert await talk(running, league) == before, "what fails changes nothing"
        league.poisonous = False
        await actions.rebuild_key("talks", "team-a", **WHO)
        assert await actions.parked("talks", 10) == []
        await say(running, "member-0", "a", "again")
        await until(lambda: up_to_date(running))
        assert (await talk(running, league))["a"].split()[12:] == [POISON, "behind", POISON, "behind", "again"]


async def test_a_stream_without_rows_of_its_own_is_refused(url: str) -> None:
    """Its events would be applied a second time to rows that others have written, too."""
    league = League()
    async with RunningService(league.service, settings_for(url)) as running:
        await fill(running)
        before = await talk(running, league)
        with pytest.raises(DeclarationError, match="member-0"):
            await actions_of(running).rebuild_key("talks", "member-0", **WHO)
        assert await talk(running, league) == before
