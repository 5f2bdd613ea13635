"""The hint port: wakes the loops of one service in its other processes. Port: imports the foundation only.

A hint says that there may be work, and never what it is: it carries the names of signals (`freehold.context.Signal`).
It is lossy. A loop that gets none finds its work by polling, at the latest after `poll_seconds`:

    t1  process P commits; its own loops are woken at once, without this port
    t2  P sends a hint, beside the transaction and after it; if that fails, nothing else does
    t3  process Q hears it, and wakes the loops that its signals concern
    t4  Q reads the database, and finds the work, or finds that another process has done it

A database or a broker that can carry hints implements `Hinting`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final, Protocol, runtime_checkable

import msgspec

from freehold.ids import new_id

__all__ = ["HINT_CHARACTERS_MAX", "Hint", "HintChannel", "HintLine", "Hinting", "read_hint", "write_hint"]

HINT_CHARACTERS_MAX: Final = 7000
"""The longest hint: NOTIFY of PostgreSQL carries less than 8000 bytes."""


@dataclass(frozen=True, slots=True)
class Hint:
    """What one process tells the others.

    sender   an id of the sending process.
    wakes    signals that it emitted.
    wants    the signals that wake a loop which runs there; None from a process that only sends, such as a command.
    asks     the others shall tell what they want.
    leaves   it stops.
    """

    sender: str
    wakes: frozenset[str] = frozenset()
    wants: frozenset[str] | None = None
    asks: bool = False
    leaves: bool = False


class _Written(msgspec.Struct, omit_defaults=True):
    """A hint as it is sent. A process of another release reads the members that it knows."""

    sender: str
    wakes: list[str] = []
    wants: list[str] | None = None
    asks: bool = False
    leaves: bool = False


_DECODER: Final = msgspec.json.Decoder(_Written)


def write_hint(hint: Hint) -> str:
    """Encode a hint."""
    wants = None if hint.wants is None else sorted(hint.wants)
    written = _Written(hint.sender, sorted(hint.wakes), wants, hint.asks, hint.leaves)
    return msgspec.json.encode(written).decode()


def read_hint(text: str) -> Hint | None:
    """Decode a hint; None for a text that is none."""
    try:
        found = _DECODER.decode(text)
    except msgspec.DecodeError:
        return None
    wants = None if found.wants is None else frozenset(found.wants)
    return Hint(found.sender, frozenset(found.wakes), wants, found.asks, found.leaves)


class HintLine(Protocol):
    """An open channel of one process."""

    async def send(self, text: str) -> None:
        """Send to all open lines of the channel, within a time limit. Raises `Unavailable`."""

    async def ended(self) -> None:
        """Return once the line is lost: it hears nothing more."""

    async def close(self) -> None:
        """Close it. Never raises. Idempotent."""


class HintChannel(Protocol):
    """The channel of one service.

    An implementation keeps:

    1. A text that was sent is heard by every other line of the channel, also in other processes, unless it is lost.
       The sender's own line may hear it too.
    2. Channels of other services, databases or brokers hear nothing of it.
    3. Texts of one sender arrive in order. None is lost while lines are open and their processes read; a process that
       does not read has room for a few.
    4. A line that hears nothing more has `ended`, at the latest when something is sent on it; a new one is opened then.
       What was sent in between is lost.
    5. Sending needs no connection of the pool, holds no transaction open, and waits for no listener: one that is frozen
       hinders nobody.
    6. `heard` is called in the thread of the event loop, and must neither block nor raise.
    """

    async def open(self, heard: Callable[[str], None]) -> HintLine:
        """Listen from now on. Raises `Unavailable`."""


@runtime_checkable
class Hinting(Protocol):
    """A database, or a broker, that can carry hints."""

    def hint_channel(self, service: str) -> HintChannel | None:
        """The channel of a service; None where it cannot be had here, such as behind a proxy. It is usable while the
        database or the broker is open.
        """


@dataclass(slots=True)
class HintPeers:
    """The other processes of a service, as far as they were heard of. It decides what must be told them; no I/O.

    A peer that was not heard of for `forget_seconds` has died.
    """

    forget_seconds: float
    own: str = field(default_factory=lambda: new_id().hex)
    _wants: dict[str, frozenset[str]] = field(default_factory=dict)
    _heard_at: dict[str, float] = field(default_factory=dict)
    _doubtful: set[str] = field(default_factory=set)

    @property
    def count(self) -> int:
        """How many are known."""
        return len(self._wants)

    @property
    def wanted(self) -> frozenset[str]:
        """The signals that wake a loop in another process."""
        return frozenset().union(*self._wants.values())

    def hear(self, hint: Hint, now: float) -> bool:
        """Note a hint of another process. True where earlier ones of the same process may have been lost: it was not
        known before.
        """
        if hint.leaves:
            self._forget([hint.sender])
            return False
        if hint.wants is None:
            return False
        new = hint.sender not in self._wants or hint.sender in self._doubtful
        self._wants[hint.sender], self._heard_at[hint.sender] = hint.wants, now
        self._doubtful.discard(hint.sender)
        return new

    def doubt(self) -> None:
        """Note that hints of all may have been lost. They are told what happens all the same."""
        self._doubtful.update(self._wants)

    def forget_dead(self, now: float) -> None:
        """Forget those that were not heard of for long."""
        self._forget([peer for peer, at in self._heard_at.items() if now - at >= self.forget_seconds])

    def _forget(self, peers: Iterable[str]) -> None:
        for peer in peers:
            self._wants.pop(peer, None)
            self._heard_at.pop(peer, None)
            self._doubtful.discard(peer)
