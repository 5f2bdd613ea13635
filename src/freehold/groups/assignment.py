"""What a member holds just now, in memory. Pattern: imports its own package."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from freehold.groups.log import GroupLog, PartitionState, TopicPartition

__all__ = ["AssignedPartition", "Assignment"]


@dataclass(slots=True, eq=False)
class AssignedPartition:
    """A place that this member holds.

    busy     a batch of it is out, or being made.
    leaving  it is to be released once the batch is acked.
    unsure   a change was sent and not confirmed; the record must be read again before anything follows.
    tries    how often what follows the position was delivered, `tried_to` being the last number of it.
    owed     the last of these tries was not counted, which is written when it is released.
    """

    record: PartitionState
    busy: bool = False
    leaving: bool = False
    unsure: bool = False
    tries: int = 0
    owed: bool = False
    tried_to: float = math.inf

    @property
    def span(self) -> float:
        """The last number that may be delivered: what is tried again comes without others, so that the count fits."""
        return self.tried_to if self.tries else math.inf


class Assignment:
    """The places held, visited in turn."""

    def __init__(self) -> None:
        self._by_place: dict[TopicPartition, AssignedPartition] = {}

    def __iter__(self) -> Iterator[AssignedPartition]:
        return iter(list(self._by_place.values()))

    @property
    def records(self) -> Mapping[TopicPartition, PartitionState]:
        """The records of what is held."""
        return {place: hold.record for place, hold in self._by_place.items()}

    def get(self, place: TopicPartition) -> AssignedPartition | None:
        """Return the hold on a place."""
        return self._by_place.get(place)

    def has(self, hold: AssignedPartition) -> bool:
        """Whether this very hold still stands."""
        return self._by_place.get(hold.record.place) is hold

    def add(self, record: PartitionState) -> AssignedPartition:
        """Note a place that was taken."""
        hold = AssignedPartition(record=record, tries=record.attempts)
        self._by_place[record.place] = hold
        return hold

    def drop(self, hold: AssignedPartition) -> None:
        """Note that a place is not held any more."""
        if self.has(hold):
            del self._by_place[hold.record.place]

    def next_ready(self, log: GroupLog) -> AssignedPartition | None:
        """Return a hold that has something to deliver, another one each time."""
        for place, hold in self._by_place.items():
            if hold.busy or hold.leaving or hold.unsure or not log.has_messages(place, hold.record.position):
                continue
            del self._by_place[place]
            self._by_place[place] = hold
            return hold
        return None
