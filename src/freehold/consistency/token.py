"""The consistency token: an immutable vector of positions. Foundation of the pattern: imports errors, names of lanes.

A **lane** is a log whose positions can be waited for: `orders` is the event store of the service orders, `orders/3` is
partition 3 of what it publishes (its outbox, and behind it the broker). A token says of each lane: everything through
this position. Merging takes the greater position of each lane; it is commutative, associative and idempotent, so tokens
may be merged along any path, in any order, any number of times.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from freehold.errors import CodecError
from freehold.messages.lanes import lane_name

__all__ = ["EMPTY_TOKEN", "LANES_MAX", "ConsistencyToken", "outbox_lane"]

LANES_MAX: Final = 4096
"""Bound of a token that is read: services times their partitions, with room to spare. Merging drops no lane to stay
below it: who then read a service whose lane is gone would be told fresh and see the old.
"""

_ENTRY = re.compile(r"([a-z][a-z0-9-]*(?:/[0-9]+)?)=([0-9]{1,18})")
_EMPTY: Mapping[str, int] = MappingProxyType({})


def outbox_lane(service: str, partition: int) -> str:
    """The lane of what a service publishes in a partition."""
    return lane_name(service, partition)


@dataclass(frozen=True, slots=True)
class ConsistencyToken:
    """Positions by lane."""

    positions: Mapping[str, int] = field(default_factory=lambda: _EMPTY)

    def __bool__(self) -> bool:
        return bool(self.positions)

    def merged(self, *others: ConsistencyToken) -> ConsistencyToken:
        """What has seen this and all others."""
        if not any(others):
            return self
        found = dict(self.positions)
        for other in others:
            for lane, position in other.positions.items():
                found[lane] = max(position, found.get(lane, 0))
        return ConsistencyToken(MappingProxyType(found))

    def reached(self, lane: str, position: int) -> ConsistencyToken:
        """The same with a lane at least at this position."""
        return self.merged(ConsistencyToken({lane: position}))

    @property
    def text(self) -> str:
        """As it travels in envelopes: `orders=42;orders/3=17`, in order of lane; empty for nothing."""
        return ";".join(f"{lane}={position}" for lane, position in sorted(self.positions.items()))

    @classmethod
    def parse(cls, text: str) -> ConsistencyToken:
        """Read the text form. Raises `CodecError` for anything else."""
        if not text:
            return EMPTY_TOKEN
        return cls(MappingProxyType(dict(_entries(text))))


EMPTY_TOKEN: Final = ConsistencyToken()
"""The token of somebody who has seen nothing."""


def _entries(text: str) -> Iterable[tuple[str, int]]:
    parts = text.split(";")
    if len(parts) > LANES_MAX:
        raise CodecError(f"a consistency token with more than {LANES_MAX} lanes")
    for part in parts:
        match = _ENTRY.fullmatch(part)
        if match is None:
            raise CodecError("a consistency token that cannot be read", hint="pass it on as it was given")
        yield match[1], int(match[2])
