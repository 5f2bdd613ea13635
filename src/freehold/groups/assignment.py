"""The partitions that a member has now, in memory. Pattern: imports its own package."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from freehold.groups.log import GroupLog, PartitionState, TopicPartition

__all__ = ["AssignedPartition", "Assignment"]


@dataclass(slots=True, eq=False)
class AssignedPartition:
    """A partition that is assigned to this member.

    busy            a batch of it is being read, or was delivered and not acked.
    releasing       it shall be released once the batch is acked.
    unconfirmed     a change of the record was sent and not confirmed; the record must be read before the next change.
    delivery_count  how often the messages behind the position were delivered; `delivered_to` is the last of their
                    numbers.
    overcounted     the stored count is higher than `delivery_count`; it is corrected when the partition is released.
    """

    record: PartitionState
    busy: bool = False
    releasing: bool = False
    unconfirmed: bool = False
    delivery_count: int = 0
    overcounted: bool = False
    delivered_to: float = math.inf

    @property
    def limit(self) -> float:
        """The last number that may be delivered: a repeated batch contains no further messages, so that one count is
        right for all.
        """
        return self.delivered_to if self.delivery_count else math.inf


class Assignment:
    """The assigned partitions, in the order of their next delivery."""

    def __init__(self) -> None:
        self._by_place: dict[TopicPartition, AssignedPartition] = {}

    def __iter__(self) -> Iterator[AssignedPartition]:
        return iter(list(self._by_place.values()))

    @property
    def records(self) -> Mapping[TopicPartition, PartitionState]:
        """The records of the assigned partitions."""
        return {place: hold.record for place, hold in self._by_place.items()}

    def get(self, place: TopicPartition) -> AssignedPartition | None:
        """Return an assigned partition; None for another one."""
        return self._by_place.get(place)

    def has(self, hold: AssignedPartition) -> bool:
        """Whether this object is still assigned; not another assignment of the same partition."""
        return self._by_place.get(hold.record.place) is hold

    def add(self, record: PartitionState) -> AssignedPartition:
        """Add an acquired partition."""
        hold = AssignedPartition(record=record, delivery_count=record.attempts)
        self._by_place[record.place] = hold
        return hold

    def drop(self, hold: AssignedPartition) -> None:
        """Remove a partition that is no longer assigned."""
        if self.has(hold):
            del self._by_place[hold.record.place]

    def next_ready(self, log: GroupLog) -> AssignedPartition | None:
        """Return a partition with messages to deliver, a different one at each call; None where there is none."""
        for place, hold in self._by_place.items():
            if hold.busy or hold.releasing or hold.unconfirmed or not log.has_messages(place, hold.record.position):
                continue
            del self._by_place[place]
            self._by_place[place] = hold
            return hold
        return None
