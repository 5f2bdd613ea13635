"""The port of brokers with a log, which `GroupMember` uses. Pattern: imports the foundation only.

A group's progress in a partition and the lease on it are one record, changed by compare-and-set on its token. Each
member sends one heartbeat, for any number of partitions. The story of a member that was frozen:

    t1  M holds a partition at position 4, token 12; it delivers entries 5 to 9, and its process is frozen
    t2  N has seen neither a heartbeat of M nor a change of the record, and takes the partition over: token 13
    t3  N counts an attempt (token 14), delivers 5 to 9, and moves the position to 9 (token 15)
    t4  M continues and acks its batch against token 12: the record has another one, and nothing is changed

The messages were delivered twice, and the inbox discards the second time. If M had acked before t2, the position
would have moved once, and nothing would have been delivered twice.

Positions and tokens are numbers of one log and one store of records. After a loss the same numbers are given again. So
a record names its origin, and a batch of a lost log acknowledges nothing in the next one.
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
    """A group's progress in a partition, and its owner.

    token     rises with every change; a change names the token that it expects.
    position  the number of the last acknowledged entry, 0 before the first.
    attempts  the stored count of deliveries of the messages behind the position; 0 where none was stored.
    origin    the log of the position and the store of the token. A record of another origin is another record, whatever
              its numbers. Empty where the adapter has only one of each.
    """

    place: TopicPartition
    owner: str
    token: int
    position: int
    attempts: int
    origin: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """A message in the log. Numbers rise within a partition, with gaps."""

    number: int
    document: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Member:
    """A member's heartbeat, a number that changes each time, and the topics that it reads."""

    heartbeat: int
    topics: frozenset[str]


@dataclass(frozen=True, slots=True)
class GroupView:
    """The state of a group: the records of the partitions that the viewer reads, and all members.

    gone    the members and owners whose process has provably died; of others nothing is known.
    notice  a text about what has happened to the log recently; empty for nothing.
    """

    records: Sequence[PartitionState]
    members: Mapping[str, Member]
    gone: frozenset[str] = frozenset()
    notice: str = ""


class GroupLog(Protocol):
    """The access of one member of a group to the log and to the group's records.

    An implementation keeps:

    1. `compare_and_set` changes a record only if it is as expected; a record of another origin never is, whatever its
       numbers. Of several callers one succeeds, and the token rises with every change.
    2. Owner, position and attempts are in one record, so the position cannot move without the lease. A late member
       changes nothing.
    3. `join` and `heartbeat` may be repeated. Each heartbeat changes the member's number; a removed member becomes a
       member again. In a log that was created again they create missing records again.
    4. `observe` creates lost records again. A position of a lost log is replaced by the beginning of the new one, so
       that no message of the new log is skipped.
    5. `gone` contains only members and owners whose process has provably died.
    6. `read` returns entries of one log, in the order of their numbers, at most `limit`. `has_messages`, the callbacks
       and `notify_members` are hints: they may be wrong or lost, which costs only time.
    7. Each call ends in bounded time, and may raise `Unavailable`; the change of a record may have been made then.
       `notify_members`, `stop_reading` and `close` never raise.
    """

    def listen(self, on_messages: Callable[[], None], on_group: Callable[[], None]) -> None:
        """Set the callbacks, which are called in the loop's thread: when there may be new messages, and when the
        records should be read.
        """

    async def join(self, member: str) -> None:
        """Create missing records, and send a first heartbeat. Idempotent."""

    async def heartbeat(self, member: str) -> None:
        """Send a heartbeat. For a removed member, and in a log that was created again, do the same as `join`."""

    async def remove(self, member: str) -> None:
        """Remove a member; its partitions are free then."""

    async def observe(self) -> GroupView:
        """Read the state of the group: the records of all partitions that this member reads. Creates lost records
        again, and replaces positions of a lost log by the beginning of the new one.
        """

    async def compare_and_set(
        self, expected: PartitionState, *, owner: str, position: int, attempts: int
    ) -> PartitionState | None:
        """Change a record that is as expected, and return the new one; None, without a change, where it is not."""

    async def notify_members(self) -> None:
        """Make the other members read the records now. A hint: it may be lost, and never raises."""

    async def start_reading(self, place: TopicPartition, after: int) -> None:
        """Start to read an acquired partition."""

    async def stop_reading(self, place: TopicPartition) -> None:
        """Stop reading a partition. Never raises."""

    def has_messages(self, place: TopicPartition, after: int) -> bool:
        """Whether `read` is likely to return entries; as of the last `refresh`, where the log does not push."""

    async def refresh(self) -> None:
        """Look for new messages, where the log does not push."""

    async def read(self, place: TopicPartition, after: int, limit: int) -> Sequence[Entry]:
        """Return the entries behind `after`, in order, at most `limit`; may be empty in spite of `has_messages`."""

    async def close(self) -> None:
        """Release all resources of this member. Never raises."""
