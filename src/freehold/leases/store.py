"""The lease port: who may work on what, fenced by a token. Port: imports the foundation only.

A lease stores no time. Its holder shows that it is alive by increasing `heartbeat`. A challenger takes the lease over
after it has seen (token, heartbeat) unchanged for the duration of the lease, by its own monotonic clock. So no wall
clock can take a lease from a live holder, or keep one for a dead holder. A frozen holder does no harm either:

    t1  P holds the lease with token 4, and its process is frozen
    t2  Q has seen token and heartbeat unchanged for the lease's duration, and acquires the lease: token 5
    t3  P continues with the write that it had started, and names token 4: nothing is written
    t4  P renews its leases, and this one is not among those still held

If an engine can tell that a process has died, its store also implements `Vouching`, and no take-over waits that long.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, runtime_checkable

from freehold.context import Signal
from freehold.ports import Port

__all__ = ["LEASES", "LeaseRecord", "LeaseStore", "Vouch", "Vouching"]


@dataclass(frozen=True, slots=True)
class LeaseRecord:
    """A lease as it was read. `owner` is empty if nobody holds it."""

    name: str
    owner: str
    token: int
    heartbeat: int


class Vouch(Protocol):
    """The proof that an owner's process is alive; it ends with the process."""

    async def is_valid(self) -> bool:
        """Whether other processes can still see it. If not, vouch again before any work under a lease."""

    async def release(self) -> None:
        """Stop vouching for the owner: its leases were released, or run out."""


class LeaseStore(Protocol):
    """The store of leases, in the service's own database.

    An implementation keeps:

    1. Each call is a transaction of its own, in one statement. No record and no condition contains a time.
    2. `acquire` is a compare-and-set on what the challenger saw. Of several challengers one succeeds; none succeeds
       after a heartbeat, or if the lease does not exist any more.
    3. Every take-over increases the token, also one by the same owner; until the lease is deleted, no former token is
       valid again. After a release nothing is renewed or released under the token.
    4. `renew` and `release` change only leases with this owner and this token.
    5. A lease is in the database whose rows it guards, so that a write can name its token in the same statement. A
       stale token writes nothing.
    6. `ensure` leaves existing leases as they are, also when several callers do it at once. `delete` deletes the named
       leases, whatever owner they have.
    7. A prefix is not a pattern: `%`, `_` and upper case mean themselves.
    """

    async def ensure(self, names: Iterable[str]) -> None:
        """Create the leases that do not exist, without owner."""

    async def list(self, prefix: str) -> Sequence[LeaseRecord]:
        """All leases whose name begins with `prefix`, ordered by name."""

    async def acquire(self, expected: LeaseRecord, owner: str) -> LeaseRecord | None:
        """Become the owner if the lease still is as `expected`, and increase the token. Returns the new record; None if
        another member was faster.
        """

    async def renew(self, owner: str, tokens: Mapping[str, int]) -> set[str]:
        """Increase the heartbeat of leases held, by name and token; returns the names still held."""

    async def release(self, owner: str, tokens: Mapping[str, int]) -> None:
        """Clear the owner of leases held, by name and token, so that others acquire them at once."""

    async def delete(self, names: Iterable[str]) -> None:
        """Delete leases, such as those of members that left."""


REBALANCE: Final = Signal("leases-rebalance", leased=True)
"""A member joined or left, or released leases: the others look whether their shares are fair."""
LEASES: Final[Port[LeaseStore]] = Port(
    "leases", "leases", LeaseStore, "freehold.conformance.leases:LeaseStoreConformance"
)


@runtime_checkable
class Vouching(Protocol):
    """The part of a lease store that can tell, by its engine, that a process has died.

    An implementation keeps:

    1. `gone` names an owner only if it was vouched for and its process has provably died. It does not name an owner
       that is unknown, was released, or whose process is frozen.
    2. The proof decides when a lease is taken over, never what may be written. If it is wrong, a lease is taken over
       too soon, which tokens make safe.
    3. An owner is vouched for until the last of its vouches is released; a second release of one does nothing.
    4. Only the process that vouches for an owner can vouch for it again while it is alive: another one gets None.
    5. Several processes can vouch for many owners at once, and one call asks for many of them.
    """

    async def vouch(self, owner: str) -> Vouch | None:
        """Bind an owner to the life of this process, before it acquires its first lease. Returns None if that is not
        possible here: then its leases run out as usual. The same owner may be vouched for several times.
        """

    async def gone(self, owners: Collection[str]) -> set[str]:
        """Those of the owners that were vouched for and whose process has died."""
