"""What a member holds just now, in memory. Pattern: imports its own package."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from freehold.leases.log import GroupLog, Place, PlaceRecord

__all__ = ["Hold", "Holds"]


@dataclass(slots=True, eq=False)
class Hold:
    """A place that this member holds.

    busy     a batch of it is out, or being made.
    leaving  it is to be given back once the batch is settled.
    unsure   a change was sent and not confirmed; the record must be read again before anything follows.
    tries    how often what follows the position was handed out, `tried_to` being the last number of it.
    """

    record: PlaceRecord
    busy: bool = False
    leaving: bool = False
    unsure: bool = False
    tries: int = 0
    tried_to: float = math.inf

    @property
    def span(self) -> float:
        """The last number that may be handed out: what is tried again comes without others, so that the count fits."""
        return self.tried_to if self.tries else math.inf


class Holds:
    """The places held, visited in turn."""

    def __init__(self) -> None:
        self._by_place: dict[Place, Hold] = {}

    def __iter__(self) -> Iterator[Hold]:
        return iter(list(self._by_place.values()))

    @property
    def records(self) -> Mapping[Place, PlaceRecord]:
        """The records of what is held."""
        return {place: hold.record for place, hold in self._by_place.items()}

    def get(self, place: Place) -> Hold | None:
        """Return the hold on a place."""
        return self._by_place.get(place)

    def has(self, hold: Hold) -> bool:
        """Whether this very hold still stands."""
        return self._by_place.get(hold.record.place) is hold

    def add(self, record: PlaceRecord) -> Hold:
        """Note a place that was taken."""
        hold = Hold(record=record, tries=record.attempts)
        self._by_place[record.place] = hold
        return hold

    def drop(self, hold: Hold) -> None:
        """Note that a place is not held any more."""
        if self.has(hold):
            del self._by_place[hold.record.place]

    def next_ready(self, log: GroupLog) -> Hold | None:
        """Return a hold that has something to hand out, another one each time."""
        for place, hold in self._by_place.items():
            if hold.busy or hold.leaving or hold.unsure or not log.has_news(place, hold.record.position):
                continue
            del self._by_place[place]
            self._by_place[place] = hold
            return hold
        return None
