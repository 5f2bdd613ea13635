"""The lease port: who may work on what, fenced by a token. Port: imports the foundation only.

Leases carry no time. A holder proves that it lives by moving `beat`; a challenger takes a lease over when, by its own
monotonic clock, it has seen (token, beat) unchanged for the lease's duration, with a compare-and-set on what it saw. So
no clock of any machine can take a lease away from a live holder for long, or keep a dead one's. Every take-over
increases `token`; whoever writes under a lease names its token in the same statement, and a stale token writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

__all__ = ["LeaseRecord", "LeaseStore"]


@dataclass(frozen=True, slots=True)
class LeaseRecord:
    """A lease as it stands: `owner` is empty where it was given back."""

    name: str
    owner: str
    token: int
    beat: int


class LeaseStore(Protocol):
    """Where leases are kept: the service's own database. Each call is a transaction of its own, in one statement."""

    async def ensure(self, names: Iterable[str]) -> None:
        """Make the leases that do not exist, without owner."""

    async def list(self, prefix: str) -> Sequence[LeaseRecord]:
        """All leases whose name begins with `prefix`, ordered by name."""

    async def take(self, seen: LeaseRecord, owner: str) -> LeaseRecord | None:
        """Become the owner if the lease still is as `seen`; the token goes up. None where somebody was faster."""

    async def renew(self, owner: str, tokens: Mapping[str, int]) -> set[str]:
        """Move the beat of the leases held (name to token); returns the names still held."""

    async def give_back(self, owner: str, tokens: Mapping[str, int]) -> None:
        """Clear the owner of leases held, so that others take them at once."""

    async def forget(self, names: Iterable[str]) -> None:
        """Delete leases (members that left)."""
