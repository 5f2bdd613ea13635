"""W3C trace context: the place in a distributed trace from which a message or a request comes. Foundation: standard
library only.

Freehold begins no trace by itself: where no tracer is configured and nobody sent a context, there is none. A trace id
without a decision on sampling would make every tracer downstream record all of it (flag `01`) or nothing (`00`).
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Final, Self

__all__ = ["STATE_CHARACTERS_MAX", "TraceContext"]

STATE_CHARACTERS_MAX: Final = 512
"""Maximum length of `tracestate`: what every participant must pass on by the specification."""
_PARENT: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_MEMBER: Final = re.compile(r"[a-z0-9][a-z0-9_\-*/@]{0,255}=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{1,256}")
_LONG_MEMBER: Final = 128
_SAMPLED: Final = 0x01
_RANDOM: Final = 0x02


@dataclass(frozen=True, slots=True)
class TraceContext:
    """A valid `traceparent`, and the `tracestate` that came with it."""

    parent: str
    state: str | None = None

    @classmethod
    def parse(cls, parent: str | None, state: str | None = None) -> Self | None:
        """Read both texts; None for a `traceparent` that the specification calls invalid, as is one of zeros. Members
        of `tracestate` that cannot be passed on are left out.
        """
        if not parent:
            return None
        found = _PARENT.fullmatch(parent)
        if found is None:
            return None
        version, trace_id, span_id, flags, rest = found.groups()
        if version == "ff" or (version == "00" and rest) or not trace_id.strip("0") or not span_id.strip("0"):
            return None
        if version != "00":
            parent = f"00-{trace_id}-{span_id}-{flags}"  # a later version is passed on as the one that is known here
        return cls(parent, _kept_state(state) if state else None)

    @property
    def trace_id(self) -> str:
        """The id of the trace, 32 hexadecimal digits."""
        return self.parent[3:35]

    @property
    def span_id(self) -> str:
        """The id of the span that is the parent, 16 hexadecimal digits."""
        return self.parent[36:52]

    @property
    def sampled(self) -> bool:
        """Whether the participant before may have recorded its span."""
        return bool(int(self.parent[53:], 16) & _SAMPLED)

    def restarted(self) -> Self:
        """The context of a new trace with a random id and the same decision on sampling: for what is delayed or
        replayed, since a span that begins days after its parent makes the trace's duration meaningless.
        """
        flags = (_SAMPLED if self.sampled else 0) | _RANDOM
        return type(self)(f"00-{_random_id(16)}-{_random_id(8)}-{flags:02x}")


def _random_id(size: int) -> str:
    """A random id that is not zero."""
    while True:
        made = os.urandom(size)
        if any(made):
            return made.hex()


def _kept_state(text: str) -> str | None:
    """The members to pass on: valid ones, the newest (first) of each key. If all are too long together, those of more
    than 128 characters go first, then the oldest.
    """
    members: dict[str, str] = {}
    for each in text.split(","):
        member = each.strip(" \t")
        if _MEMBER.fullmatch(member):
            members.setdefault(member.partition("=")[0], member)
    kept = list(members.values())[:32]
    if len(",".join(kept)) > STATE_CHARACTERS_MAX:
        kept = [member for member in kept if len(member) <= _LONG_MEMBER]
    while len(",".join(kept)) > STATE_CHARACTERS_MAX:
        kept.pop()
    return ",".join(kept) or None
