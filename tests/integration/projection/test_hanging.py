"""A database that does not answer, behind a proxy that stalls: a wait for a token is answered all the same."""

from __future__ import annotations

import asyncio

import pytest
from tests.integration.projection.models import append, caught_up, read_model, settings_for, until
from tests.integration.sql.proxied import stall, through

from freehold import RunningService
from freehold.consistency.token import ConsistencyToken
from freehold.consistency.watcher import Fresh, Stale
from freehold.database import DatabaseOptions
from freehold.eventstore.store import EVENTS
from freehold.testing import TcpProxy

pytestmark = pytest.mark.servers

_STATEMENT_SECONDS = 600.0
_FAR_LESS_SECONDS = 100.0


async def test_a_wait_on_a_database_that_hangs_is_answered_at_its_limit(postgres_url: str) -> None:
    """And its connections are not those that the next wait gets."""
    model = read_model(partitions=1)
    proxied = TcpProxy.before(postgres_url)
    async with RunningService(model.service, settings_for(postgres_url)) as running, proxied as proxy:
        await append(running, "a", 1)
        await until(lambda: caught_up(running, model))
        page = await running.stores[EVENTS].read_all(0)
        options = DatabaseOptions(pool_size=2, statement_timeout_seconds=_STATEMENT_SECONDS)
        settings = settings_for(through(proxy, postgres_url), database_options=options)
        async with RunningService(read_model(partitions=1).service, settings, roles=()) as reader:
            token = ConsistencyToken({"bank": page.end_position})
            assert await reader.freshness.wait(token, projections=["accounts"], limit_seconds=60.0) == Fresh()
            stall(proxy)
            async with asyncio.timeout(_FAR_LESS_SECONDS):
                for _ in range(3):
                    found = await reader.freshness.wait(token, projections=["accounts"], limit_seconds=0.3)
                    assert isinstance(found, Stale)
                    assert found.behind[0].reached == page.end_position  # as it was when it was last seen
                proxy.heal()
                assert await reader.freshness.wait(token, projections=["accounts"], limit_seconds=90.0) == Fresh()
