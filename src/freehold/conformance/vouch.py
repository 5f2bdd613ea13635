"""The suite of the vouching port, for engines that detect when a process has died. Needs pytest and pytest-asyncio.
Bind it with a `harness` fixture, see `freehold.conformance.harness`. It does not test killed and frozen processes: that
needs processes, and is tested by each adapter.
"""

from __future__ import annotations

import pytest

from freehold.conformance.harness import StoresHarness
from freehold.leases.store import LEASES, Vouch, Vouching
from freehold.ports import Stores

__all__ = ["VouchingConformance"]


def _vouching(harness: StoresHarness, stores: Stores) -> Vouching:
    if not harness.features.proves_death:
        pytest.skip("feature: proves_death")
    leases = stores[LEASES]
    assert isinstance(leases, Vouching)
    return leases


async def _vouched(vouching: Vouching, owner: str) -> Vouch:
    vouch = await vouching.vouch(owner)
    assert vouch is not None
    return vouch


class VouchingConformance:
    """What every lease store with `Vouching` must do."""

    async def test_whoever_lives_is_not_gone(self, harness: StoresHarness) -> None:
        """For every instance and any number of checks, also at the same time."""
        mine, other = (_vouching(harness, each) for each in (harness.first, await harness.instance()))
        vouch = await _vouched(mine, "me")
        for each in (mine, other, other):
            assert await each.gone(["me"]) == set()
        assert await vouch.is_valid()
        await vouch.release()

    async def test_nothing_is_said_of_whoever_was_not_vouched_for(self, harness: StoresHarness) -> None:
        """It may live on another machine, or run an older version."""
        vouching = _vouching(harness, harness.first)
        vouch = await _vouched(vouching, "me")
        assert await vouching.gone(["stranger", "me", ""]) == set()
        assert await vouching.gone([]) == set()
        await vouch.release()

    async def test_nothing_is_said_after_a_release(self, harness: StoresHarness) -> None:
        """It has released its leases; a second release does nothing."""
        mine, other = (_vouching(harness, each) for each in (harness.first, await harness.instance()))
        vouch = await _vouched(mine, "me")
        await vouch.release()
        assert await other.gone(["me"]) == set()
        assert not await vouch.is_valid()
        await vouch.release()
        again = await _vouched(mine, "me")
        assert await again.is_valid()
        await again.release()

    async def test_an_owner_is_vouched_for_until_the_last_release(self, harness: StoresHarness) -> None:
        """Several lease managers may share an owner."""
        mine, other = (_vouching(harness, each) for each in (harness.first, await harness.instance()))
        one, two = await _vouched(mine, "me"), await _vouched(mine, "me")
        await one.release()
        assert await two.is_valid()
        assert await other.gone(["me"]) == set()
        await two.release()

    async def test_nobody_vouches_for_an_owner_of_somebody_else(self, harness: StoresHarness) -> None:
        """As long as the other process lives."""
        mine, other = (_vouching(harness, each) for each in (harness.first, await harness.instance()))
        vouch = await _vouched(mine, "me")
        assert await other.vouch("me") is None
        assert await mine.gone(["me"]) == set()
        await vouch.release()

    async def test_many_owners_are_vouched_for_side_by_side(self, harness: StoresHarness) -> None:
        """And they can be checked together."""
        mine, other = (_vouching(harness, each) for each in (harness.first, await harness.instance()))
        names = [f"owner-{number}" for number in range(20)]
        vouches = [await _vouched(mine if number % 2 else other, name) for number, name in enumerate(names)]
        assert await mine.gone(names) == set()
        for vouch in vouches:
            await vouch.release()
