"""Questions about fetched batches. Pattern: imports the broker port."""

from __future__ import annotations

from collections.abc import Sequence

from freehold.broker import Batch

__all__ = ["came_before", "delivery_count_max", "groups_of", "place_of"]


def place_of(batch: Batch) -> str:
    """The topic and partition of a batch, as text and as a key."""
    return f"{batch.topic} partition {batch.partition}"


def came_before(batch: Batch) -> bool:
    """Whether a message of the batch was delivered before. Such a batch shares its transaction with no other."""
    return any(each.delivery_count > 1 for each in batch.deliveries)


def delivery_count_max(batches: Sequence[Batch]) -> int:
    """The highest delivery count in the batches."""
    return max((each.delivery_count for batch in batches for each in batch.deliveries), default=0)


def groups_of(batches: Sequence[Batch]) -> Sequence[Sequence[Batch]]:
    """The batches, grouped by transaction."""
    fresh = [batch for batch in batches if not came_before(batch)]
    return [group for group in (fresh, *([batch] for batch in batches if came_before(batch))) if group]
