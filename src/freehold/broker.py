"""The broker port: a partitioned, durable log of messages with consumer groups. Port: imports the foundation only.

`Broker` stores messages and reports the state of the log. A `Consumer` is a member of a group, and a `Batch` is what a
member works on. A member may be frozen, and not know that it was replaced:

    t1  member A holds a partition and fetches messages 5 to 9
    t2  A is frozen for longer than its lease; B takes the partition over, behind the last acknowledged message, 4
    t3  B fetches 5 to 9 as well, handles them, and acknowledges 5 and 6
    t4  A continues with its batch, and acknowledges 5 to 9

At t4 A gets `LeaseLost` and the position does not move: it is written by compare-and-set on the lease's token, and A
has the old token. Messages 5 to 9 were delivered twice ("at least once"); the inbox discards the second delivery.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol, runtime_checkable
from uuid import UUID

from freehold.database import CheckResult
from freehold.errors import FreeholdError
from freehold.fields import bounded, check, seconds, words

__all__ = [
    "OPERATOR",
    "STREAMS_OWNER",
    "Batch",
    "Broker",
    "BrokerFeatures",
    "BrokerOptions",
    "BrokerRights",
    "Consumer",
    "Delivery",
    "GroupPlace",
    "GroupState",
    "Noticing",
    "OutgoingMessage",
    "Provisioning",
    "PublishConfirmed",
    "PublishFailed",
    "PublishOutcome",
    "Subscription",
    "TopicLag",
]


@dataclass(frozen=True, slots=True)
class BrokerFeatures:
    """What a broker guarantees, as data.

    redelivery_horizon_seconds  how long after its publication a message may be delivered (again); the inbox must keep
                                receipts longer.
    confirm_survives            what a confirmed message survives: the death of the process, or loss of power as well.
    """

    technology: str
    emulation: bool
    durable: bool
    several_processes: bool
    confirm_survives: Literal["nothing", "process-kill", "power-loss"]
    message_bytes_max: int
    redelivery_horizon_seconds: float


@dataclass(frozen=True, slots=True)
class BrokerOptions:
    """How a broker is opened. `prefix` separates several systems on one broker. `partitions` is fixed at first use."""

    prefix: str = words("freehold")
    partitions: int = bounded(8, 1, 1024)
    connect_timeout_seconds: float = seconds(5.0)
    retention_seconds: float = seconds(7 * 86400.0)
    lease_seconds: float = seconds(6.0)

    def __post_init__(self) -> None:
        """Refuse values of a wrong type or outside of their range. Raises `ConfigurationError`."""
        check(self, "broker_options")


@dataclass(frozen=True, slots=True)
class OutgoingMessage:
    """A message to store: `document` is the encoded envelope, which adapters never decode."""

    id: UUID
    topic: str
    key: str
    document: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class PublishConfirmed:
    """The broker confirmed the message. `duplicate`: it had stored the message in an earlier call, and discarded this
    document; set by brokers that recognise a message by its id.
    """

    duplicate: bool = False


@dataclass(frozen=True, slots=True)
class PublishFailed:
    """The message was not confirmed. `error` is `MessageRejected` (it never will be), or `Unavailable` (try again)."""

    error: FreeholdError


PublishOutcome = PublishConfirmed | PublishFailed


@dataclass(frozen=True, slots=True)
class Subscription:
    """What a consumer group reads: its stable name, its topics, and where a new group begins."""

    group: str
    topics: frozenset[str]
    start: Literal["earliest", "latest"] = "earliest"


@dataclass(frozen=True, slots=True)
class Delivery:
    """A delivered message. `delivery_count` is how often it was delivered, this time included; `location` names its
    place in the log, for operators and logs.
    """

    document: bytes = field(repr=False)
    delivery_count: int
    location: str


@dataclass(frozen=True, slots=True)
class TopicLag:
    """What a group has not acknowledged of a topic yet; `oldest_seconds` is None where the broker does not know it."""

    group: str
    topic: str
    pending: int
    oldest_seconds: float | None


@dataclass(frozen=True, slots=True)
class GroupPlace:
    """A partition of a consumer group: `holder` is the member that may read it, empty for none; `position` increases
    when messages are acknowledged, and has no other meaning.
    """

    topic: str
    partition: int
    holder: str
    position: int


@dataclass(frozen=True, slots=True)
class GroupState:
    """The state of a consumer group, read without joining it.

    heartbeats  members, each with a number that changes at every heartbeat: several within `lease_seconds`.
    gone        members and holders whose process has provably died; others may have died as well.
    """

    places: Sequence[GroupPlace]
    heartbeats: Mapping[str, int]
    gone: frozenset[str] = frozenset()


OPERATOR: Final = "OPERATOR"
"""The user who may do everything on a broker that has accounts. In capitals, so that no service has this name."""
STREAMS_OWNER: Final = "HUB"
"""The account that owns the streams of such a broker; `OPERATOR` is its user."""


@dataclass(frozen=True, slots=True)
class BrokerRights:
    """What one service needs of a broker: the topics it publishes to, and those it reads as a group of its name."""

    service: str
    publishes: frozenset[str]
    reads: frozenset[str]


class Batch(Protocol):
    """The deliveries of one partition that a member works on.

    An implementation keeps:

    1. There is at least one delivery, all of one partition, in the order of the log.
    2. Nothing of the partition is delivered again to the group until the batch is acked, or until another member took
       the partition over. A live member keeps its batch for longer than the lease if its work is slow.
    3. An ack moves the group's position past a prefix of the batch. The rest is delivered again, in order, with its
       deliveries counted, unless the caller asks for the opposite (`counted=False`).
    4. An ack after a take-over acknowledges nothing and raises `LeaseLost`. An ack after the lease ran out, but before
       a take-over, has its usual effect.
    5. A batch of a lost log acknowledges nothing of the log that replaces it.
    6. A batch is acked once and within its length; anything else is an error of the caller, and has no effect.
    """

    @property
    def topic(self) -> str:
        """The topic they come from."""

    @property
    def partition(self) -> int:
        """The partition they come from."""

    @property
    def deliveries(self) -> Sequence[Delivery]:
        """At least one."""

    async def ack(self, count: int, *, counted: bool = True) -> None:
        """Acknowledge the first `count` deliveries and release the partition for the next batch.

        With `counted=False` this delivery of the rest is not counted as an attempt: the rest was not the reason why the
        batch ended. Raises `LeaseLost` when another member took the partition over (nothing is acknowledged then),
        `Unavailable` when the broker cannot be reached (the batch is delivered again). Exactly one call for each batch.
        """


class Consumer(Protocol):
    """A member of a group, used by many tasks at once.

    An implementation keeps:

    1. The members share the partitions of their topics, and a partition has one holder at a time. A new member gets its
       share at once, after batches in progress were acked.
    2. A batch is of one partition, and batches of different partitions may be worked on concurrently.
    3. When a member dies, is frozen for longer than its lease, or leaves, another one takes over from the last
       acknowledged message. After `close` it does so without waiting for the lease.
    4. `Delivery.delivery_count` says how often a message was delivered, as far as the broker knows. It is increased
       before the delivery, also across members, so that a message that crashes its process is recognised.
    5. A fetch waits at most `wait_seconds`, and a new message ends the wait at once, also one of another process.
    6. Members of one group may subscribe to different topics: a topic that a member no longer subscribes to is read by
       the others.
    7. After an outage it continues by itself; a fetch raises `Unavailable` during the outage.
    """

    async def fetch(self, limit: int, wait_seconds: float) -> Batch | None:
        """Return the next batch of at most `limit` messages; None if none arrived in time. Raises `Unavailable`."""

    async def close(self) -> None:
        """Leave the group at once: others take over without waiting for the lease to run out. Idempotent."""


@runtime_checkable
class Noticing(Protocol):
    """A consumer that knows why it gets no messages, or a broker that knows what it has lost lately."""

    @property
    def notice(self) -> str:
        """For operators: why no messages are delivered for a while, or what was lost; empty for neither."""


@runtime_checkable
class Provisioning(Protocol):
    """A broker on which an operator creates what services with few rights may not create themselves."""

    async def provision(self, groups: Iterable[str]) -> None:
        """Create what is missing of the log, and of the state of these consumer groups. Raises `Unavailable`."""


class Broker(Protocol):
    """A messaging system: a durable log, opened once per process and event loop, safe to share between tasks.

    An implementation keeps:

    1. `publish` stores each message or says why not. `PublishConfirmed` means that the message is as durable as the
       features say; it may be stored twice when a confirmation was lost (at least once).
    2. Messages of one topic and key are stored in the order given, within one call and over several. If one is not
       stored, no later message of that key in the call is stored; other keys are not affected.
    3. A topic and key are always in the same partition, and the number of partitions is fixed at first use.
    4. The publisher does not declare topics. A topic keeps messages, within the retention, also for groups that do not
       exist yet. Another `prefix` is another system.
    5. A group sees every message of its topics at least once: a new group from its subscription's `start`, an existing
       one from its own position. Groups do not block each other.
    6. Publishers get `Unavailable` in bounded time during an outage. Afterwards publishers and consumers continue by
       themselves, and what was confirmed before and during the outage is there, in order.
    7. A log that replaces a lost one has another identity. What is meant for the old log is not confirmed
       (`LogReplaced`), no position of the old log skips messages of the new one, and groups begin at its beginning.
    8. `probe`, `lag` and `group_state` join no group. No consumer sees the record of a probe, and each probe replaces
       the record before it.
    """

    @property
    def features(self) -> BrokerFeatures:
        """What it guarantees."""

    @property
    def partitions(self) -> int:
        """How many partitions a topic has: before `open` the number of the options, afterwards that of the broker. A
        message is in `stable_hash(key) % partitions`.
        """

    async def open(self) -> None:
        """Connect and create what is needed. Raises `Unavailable`, `ConfigurationError`. Idempotent."""

    async def close(self) -> None:
        """Close; consumers are closed first. Idempotent."""

    async def ping(self, timeout_seconds: float) -> None:
        """Return when the broker answers. Raises `Unavailable`, within the time limit."""

    async def probe(self, name: str, timeout_seconds: float) -> None:
        """Check that the broker stores messages: write a record, as durably as a message, within the time limit. `name`
        is the service's; no consumer sees the record. It replaces the one before, so it may be done every few seconds.

        Raises the reason why the broker stores no messages: `Unavailable` (at its limit, no space left, locked),
        `BrokerError`.
        """

    async def publish(
        self, messages: Sequence[OutgoingMessage], timeout_seconds: float, *, log: str = ""
    ) -> Sequence[PublishOutcome]:
        """Store messages; the outcomes are in the order of the messages. Never raises for a single message.

        `log` is the identity of the log that the publisher knows (see `log_identity`); empty for any log. If the
        broker sees before it stores that its log is another one, it stores nothing and raises `LogReplaced`. If it sees
        that afterwards, the outcome of the message is `PublishFailed` with `LogReplaced`.

        Raises `Unavailable` when nothing could be tried. After a cancellation it is unknown what was stored.
        """

    async def subscribe(self, subscription: Subscription) -> Consumer:
        """Join a group. Raises `Unavailable`, `ConfigurationError`."""

    async def lag(self, group: str) -> Sequence[TopicLag]:
        """How many messages the group has not acknowledged yet, by topic."""

    async def log_identity(self) -> str:
        """The identity of the log that positions belong to: the same string for all processes as long as the log
        exists, and another one after it was lost and created again. A log restored from a copy may keep its identity.

        Raises `Unavailable`, also while there is no log.
        """

    async def log_mark(self) -> str:
        """A mark of the newest message of the log, for `log_holds`; empty where there was none yet. Raises
        `Unavailable`.
        """

    async def log_holds(self, mark: str) -> bool:
        """Whether the log contains the message of a mark. False: the log is an older copy of itself, and confirmed
        messages are lost. True may be wrong for an older copy that has received as many messages since. Raises
        `Unavailable`.
        """

    async def group_state(self, group: str) -> GroupState:
        """Which member holds which partition of a group; joins no group. Empty for a group that never existed."""

    async def run_checks(self) -> list[CheckResult]:
        """Check version and settings that a guarantee needs; for `doctor`."""
