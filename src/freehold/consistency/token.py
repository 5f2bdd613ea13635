"""The consistency token: an immutable vector of positions. Foundation of the pattern: imports errors, names of lanes.

A **lane** is an ordered log whose positions can be waited for: `orders` is the event store of the service orders,
`orders/3` is partition 3 of what it publishes (its outbox, and behind it the broker). A token stands for everything in
each lane through one position. Merging takes the greater position of each lane; it is commutative, associative and
idempotent, so tokens may be merged along any path, in any order, any number of times.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from freehold.errors import CodecError

__all__ = ["EMPTY_TOKEN", "LANES_MAX", "ConsistencyToken"]

LANES_MAX: Final = 4096
"""The limit for a token that is read: more than all services have partitions. Merging drops no lane to stay below it,
because a read of a service whose lane is missing would pass for fresh and show old data.
"""

_ENTRY = re.compile(r"([a-z][a-z0-9-]*(?:/[0-9]+)?)=([0-9]{1,18})")
_EMPTY: Mapping[str, int] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class ConsistencyToken:
    """Positions by lane; immutable."""

    positions: Mapping[str, int] = field(default_factory=lambda: _EMPTY)

    def __bool__(self) -> bool:
        return bool(self.positions)

    def merged(self, *others: ConsistencyToken) -> ConsistencyToken:
        """The token that has seen what this and all others have seen."""
        if not any(others):
            return self
        found = dict(self.positions)
        for other in others:
            for lane, position in other.positions.items():
                found[lane] = max(position, found.get(lane, 0))
        return ConsistencyToken(MappingProxyType(found))

    def reached(self, lane: str, position: int) -> ConsistencyToken:
        """This token, with a lane at this position or a greater one."""
        return self.merged(ConsistencyToken({lane: position}))

    @property
    def text(self) -> str:
        """The form in envelopes: `orders=42;orders/3=17`, in order of lane; empty without positions."""
        return ";".join(f"{lane}={position}" for lane, position in sorted(self.positions.items()))

    @classmethod
    def parse(cls, text: str) -> ConsistencyToken:
        """Return the token of a text form. Raises `CodecError` for any other text."""
        if not text:
            return EMPTY_TOKEN
        return cls(MappingProxyType(dict(_entries(text))))


EMPTY_TOKEN: Final = ConsistencyToken()
"""The token without positions."""


def _entries(text: str) -> Iterable[tuple[str, int]]:
    parts = text.split(";")
    if len(parts) > LANES_MAX:
        raise CodecError(f"a consistency token with more than {LANES_MAX} lanes")
    for part in parts:
        match = _ENTRY.fullmatch(part)
        if match is None:
            raise CodecError("a consistency token that cannot be read", hint="pass it on unchanged")
        yield match[1], int(match[2])
