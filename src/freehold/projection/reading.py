"""What a generation applies next: one page where its partitions stand together, a page of each where they do not.

Pattern: imports the event store's port and its package.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import chain
from typing import Final

from freehold.eventstore.store import EventFilter, EventStore, Page, bucket_of
from freehold.projection.batch import Batch
from freehold.projection.store import Checkpoint

__all__ = ["read_batch"]

_APART_MAX: Final = 8
"""Partitions that stand no further apart than so many batches are brought together, by reading what lies between them
once more: a page of each of them costs the database as much as a page of all, again and again.
"""


async def read_batch(
    store: EventStore,
    wanted: EventFilter,
    partitions: int,
    seen: Mapping[int, Checkpoint],
    limit: int,
    caps: Mapping[int, int] | None = None,
) -> Batch:
    """What follows the checkpoints, some partitions of `partitions`; not beyond the `caps`, where there are any.

    One read does where all partitions are here and stand close together, as they do once they have caught up: it goes
    on from the one that is furthest behind, and those that are ahead pass over what they have had.
    """
    positions = [each.position for each in seen.values()]
    after = min(positions)
    alike = len(seen) == partitions and (caps is None or len(set(caps.values())) == 1)
    if alike and max(positions) - after <= _APART_MAX * limit:
        cap = None if caps is None else next(iter(caps.values()))
        return _together(_capped(await store.read_all(after, limit=limit, wanted=wanted), cap), partitions, seen)
    pages = {}
    share = max(1, limit // max(1, len(seen)))
    for partition, checkpoint in seen.items():
        cap = None if caps is None else caps[partition]
        if cap is not None and cap <= checkpoint.position:
            continue
        mine = replace(wanted, partition=partition, partitions=partitions)
        pages[partition] = _capped(await store.read_all(checkpoint.position, limit=share, wanted=mine), cap)
    events = sorted(chain.from_iterable(page.events for page in pages.values()), key=lambda event: event.position)
    through = {p: page.through for p, page in pages.items() if page.through > seen[p].position}
    return Batch(events, through, partitions)


def _together(page: Page, partitions: int, seen: Mapping[int, Checkpoint]) -> Batch:
    """A page of all partitions, without what the ones that are ahead have had."""
    ahead = max(each.position for each in seen.values())
    events = [
        event
        for event in page.events
        if event.position > ahead or event.position > seen[bucket_of(event.stream) % partitions].position
    ]
    through = {p: page.through for p, each in seen.items() if page.through > each.position}
    return Batch(events, through, partitions)


def _capped(page: Page, cap: int | None) -> Page:
    if cap is None or page.through <= cap:
        return page
    return Page(tuple(event for event in page.events if event.position <= cap), cap)
