"""What a consumer asks of the batches that it fetched. Pattern: imports the broker port."""

from __future__ import annotations

from collections.abc import Sequence

from freehold.broker import Batch

__all__ = ["came_before", "delivery_count_max", "groups_of", "place_of"]


def place_of(batch: Batch) -> str:
    """The partition of a batch, for people and as a key."""
    return f"{batch.topic} partition {batch.partition}"


def came_before(batch: Batch) -> bool:
    """Whether something of a batch was delivered before: it is handled by itself."""
    return any(each.delivery_count > 1 for each in batch.deliveries)


def delivery_count_max(batches: Sequence[Batch]) -> int:
    """How often something of batches was delivered at most."""
    return max((each.delivery_count for batch in batches for each in batch.deliveries), default=0)


def groups_of(batches: Sequence[Batch]) -> Sequence[Sequence[Batch]]:
    """What goes in one transaction."""
    fresh = [batch for batch in batches if not came_before(batch)]
    return [group for group in (fresh, *([batch] for batch in batches if came_before(batch))) if group]
