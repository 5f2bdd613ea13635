"""The port of brokers that keep a log: what `GroupMember` needs of it. Pattern: imports the foundation only.

A group's progress in a partition and the lease on it are one record, changed by compare-and-set on its token. Members
prove that they live by one heartbeat of their own, whatever number of partitions they hold. A member that was frozen:

    t1  M holds a partition at position 4, token 12; it delivers entries 5 to 9, and its process is frozen
    t2  N has seen neither a heartbeat of M nor a change of the record, and takes the partition over: token 13
    t3  N counts an attempt (token 14), delivers 5 to 9, and moves the position to 9 (token 15)
    t4  M continues and acks its batch against token 12: the record has another one, and nothing is changed

The messages were delivered twice, and the inbox discards the second time. If M had acked before t2, the position
would have moved once, and nothing would have been delivered twice.

Positions and tokens are numbers of one log and one store of records; they are used again if these were lost. So a
record names its origin, and a batch of a log that is gone acknowledges nothing in the next one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

__all__ = ["Entry", "GroupLog", "GroupView", "Member", "PartitionState", "TopicPartition"]


class TopicPartition(NamedTuple):
    """A partition of a topic."""

    topic: str
    partition: int


@dataclass(frozen=True, slots=True)
class PartitionState:
    """A group's progress in a place, and who may move it.

    token     rises with every change; a change names the token it saw.
    position  number of the last acknowledged entry, 0 before the first.
    attempts  how often what follows the position was delivered; 0 where nobody had reason to count.
    origin    which log the position is one of, and which store of records the token: a record of another origin is
              another one, whatever its numbers. Empty where the adapter has one of each for good.
    """

    place: TopicPartition
    owner: str
    token: int
    position: int
    attempts: int
    origin: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """A message in the log. Numbers rise within a place, with gaps."""

    number: int
    document: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Member:
    """A member's last heartbeat, a number that changes with each, and the topics it wants."""

    heartbeat: int
    topics: frozenset[str]


@dataclass(frozen=True, slots=True)
class GroupView:
    """What a group looks like: the records of the places that the viewer wants, and all members.

    `gone` are those of them whose process has provably died; nothing is said of others. `notice` tells people what
    happened to the log lately.
    """

    records: Sequence[PartitionState]
    members: Mapping[str, Member]
    gone: frozenset[str] = frozenset()
    notice: str = ""


class GroupLog(Protocol):
    """The access of one member of a group to the log and to the group's records.

    An implementation keeps:

    1. `compare_and_set` changes a record only if it still is as expected; a record of another origin is another one,
       whatever its numbers. Of several callers one succeeds, and the token rises with every change.
    2. Owner, position and attempts are in the same record, so the position cannot move without the lease. A member that
       is late changes nothing.
    3. `join` and `heartbeat` may be repeated; each heartbeat changes the member's number, and brings a member back that
       was removed. In a log that was made again they make again what is missing.
    4. `observe` makes records again that were lost. A position of a log that is gone begins again where the log in its
       place begins, so that nothing of this one is passed over.
    5. `gone` names only members and owners whose process has provably died.
    6. `read` returns entries of one log, in the order of their numbers, `limit` at most. `has_messages`, the callbacks
       and `notify_members` are hints: they may be wrong or be lost, and only time is lost by it.
    7. Each call ends in bounded time, and may raise `Unavailable`; the change of a record may then have been made.
       `notify_members`, `stop_reading` and `close` never raise.
    """

    def listen(self, on_messages: Callable[[], None], on_group: Callable[[], None]) -> None:
        """Call back, in the loop's thread, when there may be new messages, and when leases should be looked at."""

    async def join(self, member: str) -> None:
        """Make the records that do not exist, and a first heartbeat. Idempotent."""

    async def heartbeat(self, member: str) -> None:
        """Give a heartbeat; also for a member that was removed, and in a log that was made again: what `join` makes
        is made again there.
        """

    async def remove(self, member: str) -> None:
        """Remove a member; its leases are free from then on."""

    async def observe(self) -> GroupView:
        """Read how the group stands: the records of all places that this member wants. Those that were lost are made
        again, and positions of a log that is gone begin again in the one that took its place.
        """

    async def compare_and_set(
        self, expected: PartitionState, *, owner: str, position: int, attempts: int
    ) -> PartitionState | None:
        """Change a record that still is as expected, and return it; None, and no change, where it is not."""

    async def notify_members(self) -> None:
        """Have the other members look at the leases now. A hint: it may be lost, and never raises."""

    async def start_reading(self, place: TopicPartition, after: int) -> None:
        """Start to read a place that was acquired."""

    async def stop_reading(self, place: TopicPartition) -> None:
        """Stop reading a place. Never raises."""

    def has_messages(self, place: TopicPartition, after: int) -> bool:
        """Whether `read` is likely to find something; as of the last `refresh` where the log does not push."""

    async def refresh(self) -> None:
        """Look for news."""

    async def read(self, place: TopicPartition, after: int, limit: int) -> Sequence[Entry]:
        """Return the entries that follow, in order, `limit` at most; may be empty in spite of `has_messages`."""

    async def close(self) -> None:
        """Let go of everything held for this member. Never raises."""
