"""The lease port: who may work on what, fenced by a token. Port: imports the foundation only.

Leases carry no time. A holder proves that it lives by moving `heartbeat`; a challenger takes a lease over when, by its
own monotonic clock, it has seen (token, heartbeat) unchanged for the lease's duration. So no clock of any machine can
take a lease away from a live holder for long, or keep a dead one's. A holder that was frozen does no harm either:

    t1  P holds the lease with token 4, and its process is frozen
    t2  Q has seen token and heartbeat unchanged for the lease's duration, and acquires the lease: token 5
    t3  P continues with the write that it had begun, and names token 4: nothing is written
    t4  P renews its leases, and this one is not among those still held

Where an engine can tell that a process has died, its store is `Vouching` too, and nobody waits for that time.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, runtime_checkable

from freehold.ports import Port

__all__ = ["LEASES", "LeaseRecord", "LeaseStore", "Vouch", "Vouching"]


@dataclass(frozen=True, slots=True)
class LeaseRecord:
    """A lease as it stands: `owner` is empty where it was released."""

    name: str
    owner: str
    token: int
    heartbeat: int


class Vouch(Protocol):
    """The proof that an owner's process lives, for as long as it does."""

    async def stands(self) -> bool:
        """Whether it still can be seen; where not, vouch again before anything is done under a lease."""

    async def release(self) -> None:
        """Say nothing of the owner any more: its leases were released, or run out."""


class LeaseStore(Protocol):
    """The store of leases, in the service's own database.

    An implementation keeps:

    1. Each call is a transaction of its own, in one statement. No record and no condition contains a time.
    2. `acquire` is a compare-and-set on what the challenger saw: of several one succeeds, none after a heartbeat, and
       none if the lease does not exist any more.
    3. Every take-over increases the token, also one by the same owner; until the lease is deleted, no former token is
       valid again. After a release nothing is renewed or released under the token.
    4. `renew` and `release` change only leases with this owner and this token; what others hold stays theirs.
    5. A lease lies in the database whose rows it guards, so that a write can name its token in the same statement. A
       stale token writes nothing.
    6. `ensure` leaves what exists as it is, also when several callers do it at once. `delete` deletes what is named,
       whatever owner it has.
    7. A prefix is no pattern: `%`, `_` and upper case mean themselves.
    """

    async def ensure(self, names: Iterable[str]) -> None:
        """Make the leases that do not exist, without owner."""

    async def list(self, prefix: str) -> Sequence[LeaseRecord]:
        """All leases whose name begins with `prefix`, ordered by name."""

    async def acquire(self, expected: LeaseRecord, owner: str) -> LeaseRecord | None:
        """Become the owner if the lease still is as `expected`; the token goes up. None where another member was
        faster.
        """

    async def renew(self, owner: str, tokens: Mapping[str, int]) -> set[str]:
        """Move the heartbeat of the leases held (name to token); returns the names still held."""

    async def release(self, owner: str, tokens: Mapping[str, int]) -> None:
        """Clear the owner of leases held, so that others acquire them at once."""

    async def delete(self, names: Iterable[str]) -> None:
        """Delete leases (members that left)."""


LEASES: Final[Port[LeaseStore]] = Port(
    "leases", "leases", LeaseStore, "freehold.conformance.leases:LeaseStoreConformance"
)


@runtime_checkable
class Vouching(Protocol):
    """The part of a lease store that can tell, by its engine, that a process has died.

    An implementation keeps:

    1. `gone` names an owner only if it was vouched for and its process has provably died. It says nothing of strangers,
       of those that were released, and of a process that is frozen.
    2. The proof decides when a lease is taken over, never what may be written. Should it be wrong, a lease was taken
       over too soon, and tokens keep that safe.
    3. An owner is vouched for until the last of its vouches is released; a second release of one does nothing.
    4. An owner whose process lives is vouched for by that process alone: another one gets None.
    5. Many owners can be vouched for side by side, by several processes, and asked for together.
    """

    async def vouch(self, owner: str) -> Vouch | None:
        """Tie an owner to the life of this process, before it takes its first lease. None where that cannot be done
        here: it runs out then. The same owner may be vouched for several times.
        """

    async def gone(self, owners: Collection[str]) -> set[str]:
        """Those of the owners that were vouched for and whose process has died."""
