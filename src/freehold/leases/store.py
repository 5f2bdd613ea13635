"""The lease port: who may work on what, fenced by a token. Port: imports the foundation only.

Leases carry no time. A holder proves that it lives by moving `heartbeat`; a challenger takes a lease over when, by its
own monotonic clock, it has seen (token, heartbeat) unchanged for the lease's duration, with a compare-and-set on what
it saw. So no clock of any machine can take a lease away from a live holder for long, or keep a dead one's. Every
take-over increases `token`; whoever writes under a lease names its token in the same statement, and a stale token
writes nothing.

Where an engine can tell that a process has died, its store is `Vouching` too, and nobody waits for that time: `vouch`
ties an owner to the life of its process, `gone` names those whose process has provably died. It says nothing of whoever
is not vouched for, and nothing of a process that is frozen. Should it be wrong, tokens keep it safe: then a lease was
taken over too soon.
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
    """That an owner's process lives, for as long as it does."""

    async def stands(self) -> bool:
        """Whether it still can be seen; where not, vouch again before anything is done under a lease."""

    async def release(self) -> None:
        """Say nothing of the owner any more: its leases were released, or run out."""


class LeaseStore(Protocol):
    """Where leases are kept: the service's own database. Each call is a transaction of its own, in one statement."""

    async def ensure(self, names: Iterable[str]) -> None:
        """Make the leases that do not exist, without owner."""

    async def list(self, prefix: str) -> Sequence[LeaseRecord]:
        """All leases whose name begins with `prefix`, ordered by name."""

    async def acquire(self, seen: LeaseRecord, owner: str) -> LeaseRecord | None:
        """Become the owner if the lease still is as `seen`; the token goes up. None where another member was faster."""

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
    """What a lease store does beside, where its engine can tell that a process has died."""

    async def vouch(self, owner: str) -> Vouch | None:
        """Tie an owner to the life of this process, before it takes its first lease. None where that cannot be done
        here: it runs out then. The same owner may be vouched for several times.
        """

    async def gone(self, owners: Collection[str]) -> set[str]:
        """Those of the owners that were vouched for and whose process has died."""
