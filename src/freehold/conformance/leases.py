"""The suite of the lease port. Bind it with a `harness` fixture, see `freehold.conformance.harness`."""

from __future__ import annotations

import asyncio
from typing import Final

from freehold.conformance.harness import StoresHarness
from freehold.leases.store import LEASES, LeaseRecord, LeaseStore

__all__ = ["LeaseStoreConformance"]

_CHALLENGERS: Final = 8


async def _taken(leases: LeaseStore, owner: str, *names: str) -> dict[str, int]:
    await leases.ensure(names)
    tokens = {}
    for seen in await leases.list(""):
        if seen.name in names:
            lease = await leases.acquire(seen, owner)
            assert lease is not None
            tokens[lease.name] = lease.token
    return tokens


class LeaseStoreConformance:
    """What every lease store must do."""

    async def test_ensure_makes_what_is_missing(self, harness: StoresHarness) -> None:
        """New leases have no owner; existing ones stay as they are, also when several processes do it at once."""
        leases = harness.first[LEASES]
        tokens = await _taken(leases, "me", "p/1")
        await asyncio.gather(*(leases.ensure(["p/2", "p/1", "p/0", "p/2"]) for _ in range(4)))
        zero, one, two = await leases.list("p/")
        assert (zero.name, zero.owner, two.name, two.owner) == ("p/0", "", "p/2", "")
        assert (one.owner, one.token) == ("me", tokens["p/1"])
        await leases.ensure([])

    async def test_list_goes_by_prefix_and_name(self, harness: StoresHarness) -> None:
        """A prefix is not a pattern."""
        leases = harness.first[LEASES]
        await leases.ensure(["a/2", "a/10", "b/1", "a_1", "A/1", "a%"])
        assert [lease.name for lease in await leases.list("a/")] == ["a/10", "a/2"]
        assert [lease.name for lease in await leases.list("a_")] == ["a_1"]
        assert [lease.name for lease in await leases.list("a%")] == ["a%"]
        assert await leases.list("c") == []

    async def test_one_challenger_wins(self, harness: StoresHarness) -> None:
        """Of many that have read the same state; its token is greater than any before."""
        first, other = harness.first[LEASES], (await harness.instance())[LEASES]
        await first.ensure(["p/1"])
        for turn in range(3):
            (seen,) = await first.list("p/1")
            outcomes = await asyncio.gather(
                *((first if each % 2 else other).acquire(seen, f"owner-{each}") for each in range(_CHALLENGERS))
            )
            (winner,) = [lease for lease in outcomes if lease is not None]
            assert winner.token == seen.token + 1 == turn + 1
            assert await first.list("p/1") == [winner]

    async def test_a_heartbeat_defends_a_lease(self, harness: StoresHarness) -> None:
        """A process that has read the lease before the heartbeat cannot acquire it."""
        leases = harness.first[LEASES]
        tokens = await _taken(leases, "me", "p/1")
        (seen,) = await leases.list("p/1")
        assert await leases.renew("me", tokens) == {"p/1"}
        assert await leases.acquire(seen, "other") is None
        (renewed,) = await leases.list("p/1")
        assert (renewed.owner, renewed.token) == ("me", seen.token)
        assert renewed.heartbeat != seen.heartbeat

    async def test_renew_tells_what_is_still_held(self, harness: StoresHarness) -> None:
        """Leases that were taken over, other tokens and unknown names are not returned and not changed."""
        leases = harness.first[LEASES]
        mine = await _taken(leases, "me", "p/1", "p/2", "p/3")
        theirs = await _taken(leases, "other", "p/2")
        assert await leases.renew("me", {**mine, "p/9": 1}) == {"p/1", "p/3"}
        assert await leases.renew("me", theirs) == set()
        assert await leases.renew("me", {}) == set()
        assert await leases.renew("other", theirs) == {"p/2"}

    async def test_an_old_token_of_the_same_owner_is_stale(self, harness: StoresHarness) -> None:
        """The name of an owner may be used again after a restart; a token never is."""
        leases = harness.first[LEASES]
        old = await _taken(leases, "me", "p/1")
        new = await _taken(leases, "me", "p/1")
        assert await leases.renew("me", old) == set()
        await leases.release("me", old)
        assert await leases.renew("me", new) == {"p/1"}

    async def test_release_clears_the_owner(self, harness: StoresHarness) -> None:
        """Another process can acquire it at once, and the old token is stale then; leases of others are not changed."""
        leases = harness.first[LEASES]
        mine = await _taken(leases, "me", "p/1", "p/2")
        theirs = await _taken(leases, "other", "p/2")
        await leases.release("me", mine)
        await leases.release("me", {})
        one, two = await leases.list("p/")
        assert (one.owner, two.owner) == ("", "other")
        assert await leases.renew("me", mine) == set()
        taken = await leases.acquire(one, "next")
        assert taken is not None
        assert taken.token > mine["p/1"]
        assert await leases.renew("other", theirs) == {"p/2"}

    async def test_delete_removes_leases(self, harness: StoresHarness) -> None:
        """The named ones, whatever their owner is."""
        leases = harness.first[LEASES]
        tokens = await _taken(leases, "me", "member/1", "member/2")
        await leases.delete(["member/1", "member/9"])
        await leases.delete([])
        assert [lease.name for lease in await leases.list("member/")] == ["member/2"]
        assert await leases.renew("me", tokens) == {"member/2"}

    async def test_what_is_gone_cannot_be_taken(self, harness: StoresHarness) -> None:
        """A compare-and-set on a deleted lease fails."""
        assert await harness.first[LEASES].acquire(LeaseRecord("p/1", "", 0, 0), "me") is None
