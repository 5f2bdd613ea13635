"""The suite of the responses by idempotency key. Needs pytest and pytest-asyncio."""

from __future__ import annotations

import asyncio

import pytest

from freehold.conformance.harness import StoresHarness, has_to_wait
from freehold.errors import ConcurrencyConflict, NotFound
from freehold.idempotency.store import IDEMPOTENCY, StoredResponse
from freehold.ports import Stores

__all__ = ["IdempotencyStoreConformance"]

_ANSWER = StoredResponse(fingerprint="f", status=201, content_type="application/json", body=b'\x00{"id": 1}')


class _GivenUp(Exception):
    """Ends a transaction with a rollback."""


async def claim(stores: Stores, key: str, scope: str = "orders") -> StoredResponse | None:
    """Claim a key and, where it is new, store a response, in one transaction."""
    async with stores.database.begin() as db_tx:
        found = await stores[IDEMPOTENCY].claim(db_tx, scope, key, "f")
        if found is None:
            await stores[IDEMPOTENCY].complete(db_tx, scope, key, _ANSWER)
        return found


class IdempotencyStoreConformance:
    """What every store of responses must do. Bind it with a `harness` fixture."""

    async def test_the_same_key_gives_the_same_answer(self, harness: StoresHarness) -> None:
        """Also for another instance; another key or scope is new."""
        assert await claim(harness.first, "a") is None
        assert await claim(await harness.instance(), "a") == _ANSWER
        assert await claim(harness.first, "b") is None
        assert await claim(harness.first, "a", scope="payments") is None

    async def test_headers_come_back_as_they_were(self, harness: StoresHarness) -> None:
        """Including repeated ones, in order, with every byte that a header may contain; a response may have no content
        type.
        """
        headers = (("link", "</a>"), ("etag", '"1"'), ("link", "</b>"), ("x-odd", "\x00\xe9\xff'\"\\"))
        answer = StoredResponse("f", 204, "", b"", headers=headers)
        async with harness.first.database.begin() as db_tx:
            await harness.first[IDEMPOTENCY].claim(db_tx, "orders", "a", "f")
            await harness.first[IDEMPOTENCY].complete(db_tx, "orders", "a", answer)
        assert await claim(await harness.instance(), "a") == answer

    async def test_it_says_whether_a_key_was_used(self, harness: StoresHarness) -> None:
        """One key, or any key of a scope; the question claims nothing."""
        stores = harness.first
        async with stores.database.begin() as db_tx:
            assert not await stores[IDEMPOTENCY].used(db_tx, "orders", "a")
            assert not await stores[IDEMPOTENCY].used(db_tx, "orders")
        assert await claim(stores, "a") is None
        async with stores.database.begin() as db_tx:
            assert await stores[IDEMPOTENCY].used(db_tx, "orders", "a")
            assert await stores[IDEMPOTENCY].used(db_tx, "orders")
            assert not await stores[IDEMPOTENCY].used(db_tx, "orders", "b")
            assert not await stores[IDEMPOTENCY].used(db_tx, "order")

    async def test_another_body_is_recognised(self, harness: StoresHarness) -> None:
        """The stored fingerprint is that of the first request; the caller compares it."""
        await claim(harness.first, "a")
        async with harness.first.database.begin() as db_tx:
            found = await harness.first[IDEMPOTENCY].claim(db_tx, "orders", "a", "other")
        assert found is not None
        assert found.fingerprint == "f"

    async def test_a_key_is_claimed_in_the_transaction_of_its_effect(self, harness: StoresHarness) -> None:
        """A failed request leaves no claim, so it may be sent again."""
        with pytest.raises(_GivenUp):
            async with harness.first.database.begin() as db_tx:
                assert await harness.first[IDEMPOTENCY].claim(db_tx, "orders", "a", "f") is None
                raise _GivenUp
        assert await claim(harness.first, "a") is None

    async def test_a_concurrent_request_waits_for_the_answer(self, harness: StoresHarness) -> None:
        """Two equal requests at the same time have one effect."""
        stores, other = harness.first, await harness.instance()
        async with stores.database.begin() as db_tx:
            assert await stores[IDEMPOTENCY].claim(db_tx, "orders", "a", "f") is None
            second = asyncio.create_task(claim(other, "a"))
            assert await has_to_wait(second)
            await stores[IDEMPOTENCY].complete(db_tx, "orders", "a", _ANSWER)
        assert await second == _ANSWER

    async def test_a_concurrent_request_takes_over_after_a_rollback(self, harness: StoresHarness) -> None:
        """When the first one fails, the second one has the effect."""
        stores, other = harness.first, await harness.instance()
        second: asyncio.Task[StoredResponse | None] | None = None
        with pytest.raises(_GivenUp):
            async with stores.database.begin() as db_tx:
                await stores[IDEMPOTENCY].claim(db_tx, "orders", "a", "f")
                second = asyncio.create_task(claim(other, "a"))
                assert await has_to_wait(second)
                raise _GivenUp
        assert second is not None
        assert await second is None
        assert await claim(stores, "a") == _ANSWER

    async def test_a_claim_that_was_never_answered_is_an_error(self, harness: StoresHarness) -> None:
        """Its effect may exist, so the key is not new, and there is no response."""
        async with harness.first.database.begin() as db_tx:
            await harness.first[IDEMPOTENCY].claim(db_tx, "orders", "a", "f")
        with pytest.raises(ConcurrencyConflict):
            await claim(harness.first, "a")

    async def test_only_a_claimed_key_is_answered(self, harness: StoresHarness) -> None:
        """A response without a claim would protect nothing."""
        with pytest.raises(NotFound):
            async with harness.first.database.begin() as db_tx:
                await harness.first[IDEMPOTENCY].complete(db_tx, "orders", "a", _ANSWER)

    async def test_old_answers_are_pruned(self, harness: StoresHarness) -> None:
        """After the window, at most the limit in one call."""
        for number in range(3):
            await claim(harness.first, str(number))
        harness.clock.advance(61)
        await claim(harness.first, "young")
        assert await harness.first[IDEMPOTENCY].prune(62, limit=10) == 0
        assert await harness.first[IDEMPOTENCY].prune(60, limit=2) == 2
        assert await harness.first[IDEMPOTENCY].prune(60, limit=2) == 1
        assert await claim(harness.first, "young") == _ANSWER
        assert await claim(harness.first, "0") is None
