"""The calls of the inbox."""

from __future__ import annotations

from dataclasses import replace

from tests.conformance.sql.queries.messages import incoming
from tests.conformance.sql.queries.registry import CONSUMER, Seeded, fresh, query

from freehold.consistency.store import PROGRESS
from freehold.inbox.store import INBOX, ReceiveStatus


@query
async def inbox_receive_and_write_last(seeded: Seeded) -> None:
    arrivals = [incoming() for _ in range(16)]
    async with seeded.stores.database.begin() as db_tx:
        await seeded.stores[INBOX].receive(db_tx, CONSUMER, arrivals)
        replies = {each.receipt_key: b"a" for each in arrivals[:2]}
        await seeded.stores[INBOX].save_replies_last(db_tx, CONSUMER, replies)
        await seeded.stores[PROGRESS].advance_last(db_tx, CONSUMER, {f"orders/{n}": next(fresh) for n in range(4)})


@query
async def inbox_receive(seeded: Seeded) -> None:
    arrivals = [incoming() for _ in range(16)]
    async with seeded.stores.database.begin() as db_tx:
        await seeded.stores[INBOX].receive(db_tx, CONSUMER, arrivals)
        await seeded.stores[INBOX].save_replies(db_tx, CONSUMER, {each.receipt_key: b"a" for each in arrivals[:2]})


@query
async def inbox_receive_known(seeded: Seeded) -> None:
    async with seeded.stores.database.begin() as db_tx:
        known = [incoming(receipt_key=f"r{number}") for number in range(8)]
        cancelling = replace(incoming(), compensates="r3")
        blocked = [incoming(f"k{number}") for number in range(8)]
        await seeded.stores[INBOX].receive(db_tx, CONSUMER, [*known, cancelling, *blocked])


async def _defer(seeded: Seeded, delay_seconds: float = 0.0, key: str | None = None) -> None:
    async with seeded.stores.database.begin() as db_tx:
        arrival = replace(incoming(key), lane="orders:0", lane_position=next(fresh))
        await seeded.stores[INBOX].defer(
            db_tx, CONSUMER, arrival, b"{}", attempts=1, delay_seconds=delay_seconds, reason=""
        )


@query
async def inbox_defer_and_finish(seeded: Seeded) -> None:
    await _defer(seeded, -1.0)
    inbox = seeded.stores[INBOX]
    (claimed,) = await inbox.claim_due(CONSUMER, 1, 0.0)
    assert await inbox.reschedule(claimed, -1.0, "again")
    (claimed,) = await inbox.claim_due(CONSUMER, 1, 60.0)
    assert await inbox.release(claimed)
    (claimed,) = await inbox.claim_due(CONSUMER, 1, 60.0)
    async with seeded.stores.database.begin() as db_tx:
        assert await inbox.finish(db_tx, claimed)


@query
async def inbox_claim_nothing(seeded: Seeded) -> None:
    assert await seeded.stores[INBOX].claim_due(CONSUMER, 16, 60.0) == []


@query
async def inbox_claim_behind_one_key(seeded: Seeded) -> None:
    """Of `crowded` as many are due as there are rows elsewhere, and the first is not."""
    assert await seeded.stores[INBOX].claim_due("crowded", 16, 60.0) == []
    assert await seeded.stores[INBOX].next_due_seconds("crowded")
    async with seeded.stores.database.begin() as db_tx:
        (receipt,) = await seeded.stores[INBOX].receive(db_tx, "crowded", [incoming("crowd")])
    assert receipt.status is ReceiveStatus.BLOCKED


@query
async def inbox_next_due(seeded: Seeded) -> None:
    assert await seeded.stores[INBOX].next_due_seconds(CONSUMER)


@query
async def inbox_deferred(seeded: Seeded) -> None:
    await seeded.stores[INBOX].deferred(CONSUMER, 20)
    await seeded.stores[INBOX].deferred(None, 20)


@query
async def inbox_oldest_receipt(seeded: Seeded) -> None:
    assert await seeded.stores[INBOX].oldest_receipt_seconds(CONSUMER)


@query
async def inbox_received_at(seeded: Seeded) -> None:
    assert await seeded.stores[INBOX].received_at(CONSUMER, "r3") is not None


@query
async def inbox_stats(seeded: Seeded) -> None:
    await seeded.stores[INBOX].stats()


@query
async def inbox_prune(seeded: Seeded) -> None:
    await seeded.stores[INBOX].prune(CONSUMER, 6 * 86400.0, 2)
