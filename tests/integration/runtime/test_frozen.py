"""SIGSTOP for longer than the lease, then SIGCONT: relay and consumer of a frozen process lose and reorder nothing."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from tests.forking import ForkedProcess
from tests.integration.runtime.test_exactly_once import (
    Place,
    _assert_once_and_in_order,
    _drained,
    _process,
    _publish,
    _source,
    _wait_for,
    _worker,
)

from freehold import RunningService
from freehold.errors import Unavailable
from freehold.leases.store import LEASES
from freehold.outbox.store import LEASE_PREFIX

# Many leases long: what is taken over at all is taken over within it.
_PATIENCE_SECONDS = 45.0


@pytest.fixture(params=["embedded", pytest.param("servers", marks=pytest.mark.servers)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    source = f"sqlite:///{tmp_path}/source.db"
    if request.param == "embedded":
        return Place(source, f"sqlite:///{tmp_path}/worker.db", f"embedded:///{tmp_path}/broker.db", "t")
    url, nats, prefix = (request.getfixturevalue(name) for name in ("postgres_url", "nats_url", "nats_prefix"))
    return Place(source, url, nats, prefix)


@pytest.mark.slow
@pytest.mark.timeout(400)
async def test_a_frozen_process_is_replaced_and_does_no_harm_when_it_goes_on(place: Place) -> None:
    async with _worker(place, roles=()) as watching, _source(place) as source:
        async with _process(place) as first, _process(place):
            await _publish(source, range(5))
            await _shared(watching, 5)
            count = 5
            while not await _replaced(first, watching, source, count):
                count += 5
                await _shared(watching, count)
            first.send_signal(signal.SIGCONT)
            count += 5
            await _publish(source, range(count, count + 5))
            effects = await _wait_for(watching, (count + 5) * 8)
            await _drained(watching)
        _assert_once_and_in_order(effects, count + 5)


async def _shared(watching: RunningService, count: int) -> None:
    """Wait until both processes have done all of the work and hold partitions.

    A process that goes on needs this time: where it is frozen again at once, it keeps the lock that it was frozen with.
    """
    await _wait_for(watching, count * 8)
    await _until(lambda: _relays(watching, 2))
    await _drained(watching)


async def _replaced(frozen: ForkedProcess, watching: RunningService, source: RunningService, count: int) -> bool:
    """Freeze it until the other one has done all of the work; where it holds a lock that is for ever: go on again."""
    frozen.send_signal(signal.SIGSTOP)
    await _publish(source, range(count, count + 5))
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            await _until(lambda: _relays(watching, 1))
            await _wait_for(watching, (count + 5) * 8)
            await _drained(watching)
    except (TimeoutError, Unavailable):
        frozen.send_signal(signal.SIGCONT)
        return False
    return True


async def _relays(running: RunningService, count: int) -> bool:
    """Whether all partitions of the outbox are held, and by so many processes together."""
    leases = [lease for lease in await running.stores[LEASES].list(LEASE_PREFIX) if "member" not in lease.name]
    owners = {lease.owner for lease in leases}
    return "" not in owners and len(owners) == count


async def _until(what: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(90):
        while not await what():  # noqa: ASYNC110 - a test looks from outside
            await asyncio.sleep(0.05)
