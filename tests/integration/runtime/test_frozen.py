"""SIGSTOP for longer than the lease, then SIGCONT: relay and consumer of a frozen process lose and reorder nothing."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest
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

_LEASE_SECONDS = 2.0


@pytest.fixture(params=["embedded", pytest.param("servers", marks=pytest.mark.servers)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    source = f"sqlite:///{tmp_path}/source.db"
    if request.param == "embedded":
        return Place(source, f"sqlite:///{tmp_path}/worker.db", f"embedded:///{tmp_path}/broker.db", "t")
    url, nats, prefix = (request.getfixturevalue(name) for name in ("postgres_url", "nats_url", "nats_prefix"))
    return Place(source, url, nats, prefix)


@pytest.mark.slow
async def test_a_frozen_process_is_replaced_and_does_no_harm_when_it_goes_on(place: Place) -> None:
    async with _worker(place, roles=()) as watching, _source(place) as source:
        async with _process(place) as first, _process(place):
            await _publish(source, range(5))
            await _wait_for(watching, 40)
            first.send_signal(signal.SIGSTOP)
            await asyncio.sleep(0.1)
            # A process frozen in the middle of a write holds a file of SQLite up until it goes on.
            publishing = asyncio.create_task(_publish(source, range(5, 15)))
            await asyncio.sleep(2.5 * _LEASE_SECONDS)
            first.send_signal(signal.SIGCONT)
            await publishing
            await _publish(source, range(15, 20))
            effects = await _wait_for(watching, 160, seconds=60)
            await _drained(watching)
        _assert_once_and_in_order(effects, 20)
