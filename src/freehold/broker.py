"""The broker port: a partitioned, durable log of messages with consumer groups. Port: imports the foundation only.

`Broker` stores messages and tells how the log stands, a `Consumer` is a member of a group, and a `Batch` is what a
member works on. A member may be frozen and not know that it was replaced:

    t1  member A holds a partition and fetches messages 5 to 9
    t2  A is frozen for longer than its lease; B takes the partition over, behind the last acknowledged message, 4
    t3  B fetches 5 to 9 as well, handles them, and acknowledges 5 and 6
    t4  A continues with its batch, and acknowledges 5 to 9

At t4 A gets `LeaseLost` and the position does not move: it is written by compare-and-set on the lease's token, and A
has the old one. That messages came twice is what "at least once" means; the inbox discards them.
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

    redelivery_horizon_seconds  how long after publishing a message may still come (again); the inbox must remember
                                longer.
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
    """How a broker is opened. `prefix` keeps several systems on one broker apart. `partitions` is fixed at first
    use.
    """

    prefix: str = words("freehold")
    partitions: int = bounded(8, 1, 1024)
    connect_timeout_seconds: float = seconds(5.0)
    retention_seconds: float = seconds(7 * 86400.0)
    lease_seconds: float = seconds(6.0)

    def __post_init__(self) -> None:
        """Refuse values that cannot be meant. Raises `ConfigurationError`."""
        check(self, "broker_options")


@dataclass(frozen=True, slots=True)
class OutgoingMessage:
    """A message to store: `document` is the encoded envelope, which adapters never look into."""

    id: UUID
    topic: str
    key: str
    document: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class PublishConfirmed:
    """The broker confirmed the message. `duplicate`: it has it from an earlier call, and dropped the document that came
    now; said by brokers that know a message again by its id.
    """

    duplicate: bool = False


@dataclass(frozen=True, slots=True)
class PublishFailed:
    """The message was not confirmed. `error` is `MessageRejected` (never will be), or `Unavailable` (try again)."""

    error: FreeholdError


PublishOutcome = PublishConfirmed | PublishFailed


@dataclass(frozen=True, slots=True)
class Subscription:
    """What a group wants: its stable name, the topics, and where it begins when it is new."""

    group: str
    topics: frozenset[str]
    start: Literal["earliest", "latest"] = "earliest"


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message delivered. `delivery_count` says how often, this time included; `location` names its place in the log,
    for people and logs.
    """

    document: bytes = field(repr=False)
    delivery_count: int
    location: str


@dataclass(frozen=True, slots=True)
class TopicLag:
    """What a group has not acknowledged of a topic yet; `oldest_seconds` is None where the broker cannot tell."""

    group: str
    topic: str
    pending: int
    oldest_seconds: float | None


@dataclass(frozen=True, slots=True)
class GroupPlace:
    """A partition as a group has it: `holder` is the member that may read it, empty for none; `position` rises with
    what is acknowledged, and has no other meaning.
    """

    topic: str
    partition: int
    holder: str
    position: int


@dataclass(frozen=True, slots=True)
class GroupState:
    """How a group stands, seen from outside.

    heartbeats  members, each with a number that changes at every heartbeat: several within `lease_seconds`.
    gone        members and holders whose process has provably died; nothing is said of others.
    """

    places: Sequence[GroupPlace]
    heartbeats: Mapping[str, int]
    gone: frozenset[str] = frozenset()


OPERATOR: Final = "OPERATOR"
"""Who may do everything with a broker that gives rights to accounts; in capitals, for no service is called so."""
STREAMS_OWNER: Final = "HUB"
"""The account that owns the streams of such a broker, whose user the operator is."""


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
    3. An ack moves the group's position past a prefix of the batch; the rest comes again, in order, with its deliveries
       counted, unless the caller takes the count back (`counted=False`).
    4. An ack that comes after a take-over acknowledges nothing and raises `LeaseLost`. If nobody has taken over
       yet, it counts as usual.
    5. A batch of a log that was lost acknowledges nothing of the log that follows.
    6. A batch is acked once and within its length; anything else is an error of the caller, and is not carried out.
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

        Not `counted`: that the rest was delivered counts for no attempt, for what stood in the way was not the rest.
        Raises `LeaseLost` when another member took the partition over (nothing is acknowledged then), `Unavailable`
        when the broker cannot be reached (the batch comes again). Exactly one call for each batch.
        """


class Consumer(Protocol):
    """A member of a group, used by many tasks at once.

    An implementation keeps:

    1. The members share the partitions of their topics, and a partition has one holder at a time. A new member gets its
       share at once, after batches in progress were acked.
    2. A batch is of one partition, and batches of different partitions may be worked on side by side.
    3. When a member dies, is frozen for longer than its lease, or leaves, another one takes over from the last
       acknowledged message. After `close` it does so without waiting for the lease.
    4. `Delivery.delivery_count` says how often a message was delivered, as far as the broker knows. It is counted
       before delivering, also across members, so that a message that crashes its process is recognised.
    5. A fetch waits as long as it was told, and is woken at once by a new message, also one of another process.
    6. Members of one group may want different topics: what one has stopped to subscribe to is left to the others.
    7. After an outage it continues by itself; a fetch raises `Unavailable` meanwhile.
    """

    async def fetch(self, limit: int, wait_seconds: float) -> Batch | None:
        """Return the next batch of at most `limit` messages, or None when none came in time. Raises `Unavailable`."""

    async def close(self) -> None:
        """Leave the group at once: others take over without waiting for the lease to run out. Idempotent."""


@runtime_checkable
class Noticing(Protocol):
    """A consumer that knows what keeps messages from it, or a broker that knows what it has lost lately."""

    @property
    def notice(self) -> str:
        """What keeps messages back and passes by itself, or what was lost, for people; empty for nothing."""


@runtime_checkable
class Provisioning(Protocol):
    """A broker on which an operator can make what services that have few rights may not make themselves."""

    async def provision(self, groups: Iterable[str]) -> None:
        """Make what is missing of the log, and of what groups of these names keep. Raises `Unavailable`."""


class Broker(Protocol):
    """A messaging system: a durable log, opened once per process and event loop, safe to share between tasks.

    An implementation keeps:

    1. `publish` stores each message or says why not. `PublishConfirmed` means that the message is as durable as the
       features say; it may be stored twice when a confirmation was lost (at least once).
    2. Messages of one topic and key are stored in the order given, within one call and over several. Where one is not
       stored, none after it of that key in the call is; other keys are not concerned.
    3. A topic and key are always in the same partition, and the number of partitions is fixed at first use.
    4. Topics need no declaration by the publisher, and keep messages for groups that have not come yet, within the
       retention. Another `prefix` is another system.
    5. A group sees every message of its topics at least once, from where it says it begins when it is new, and from its
       own position after that. Groups do not block each other.
    6. Publishers hear of an outage in bounded time (`Unavailable`). Afterwards publishers and consumers continue by
       themselves, and what was confirmed before and during the outage is there, in order.
    7. A log that was lost has another identity. What is meant for the old one is not confirmed (`LogReplaced`), no
       position of the old one passes over messages of the new one, and groups begin at its beginning.
    8. `probe`, `lag` and `group_state` look from outside: no consumer sees a probe's record, which takes the same place
       each time, and no group is joined.
    """

    @property
    def features(self) -> BrokerFeatures:
        """What it guarantees."""

    @property
    def partitions(self) -> int:
        """How many partitions a topic has: what the broker says once it is open, the options before. A message is in
        `stable_hash(key) % partitions`.
        """

    async def open(self) -> None:
        """Connect and make what is needed. Raises `Unavailable`, `ConfigurationError`. Idempotent."""

    async def close(self) -> None:
        """Close; consumers are closed first. Idempotent."""

    async def ping(self, timeout_seconds: float) -> None:
        """Return when the broker answers. Raises `Unavailable`, within the time limit."""

    async def probe(self, name: str, timeout_seconds: float) -> None:
        """See that messages are taken: write a record under the name of a service that no consumer sees, as durably as
        a message, within the time limit. It is the same record each time, so it may be done every few seconds.

        Raises what keeps the broker from taking messages, with the reason: `Unavailable` (at its limit, no space left,
        locked), `BrokerError`.
        """

    async def publish(
        self, messages: Sequence[OutgoingMessage], timeout_seconds: float, *, log: str = ""
    ) -> Sequence[PublishOutcome]:
        """Store messages; the outcomes stand in the order of the messages. Never raises for a single message.

        `log` is the identity that the publisher knows (see `log_identity`). Where the broker knows before it stores
        that its log is another one, it stores nothing and raises `LogReplaced`; what it finds out afterwards it does
        not confirm, with the same error. Empty: any log will do.

        Raises `Unavailable` when nothing could be tried. Cancelled: what was stored is not known.
        """

    async def subscribe(self, subscription: Subscription) -> Consumer:
        """Join a group. Raises `Unavailable`, `ConfigurationError`."""

    async def lag(self, group: str) -> Sequence[TopicLag]:
        """What the group still has before it, by topic."""

    async def log_identity(self) -> str:
        """Name the log that positions belong to: the same string for as long as the log lives, for all processes, and
        another one once it was lost and made again. A log that was restored from a copy may keep its name.

        Raises `Unavailable`, also while there is no log.
        """

    async def log_mark(self) -> str:
        """Name the newest message of the log, for `log_holds`; empty where there was none yet. Raises `Unavailable`."""

    async def log_holds(self, mark: str) -> bool:
        """Whether the log has come as far as a mark of it says. False: it is an older copy of itself, and messages that
        were confirmed are gone. A copy that has as many messages again by now may pass for the log. Raises
        `Unavailable`.
        """

    async def group_state(self, group: str) -> GroupState:
        """Who holds what in a group, without joining it; empty for a group that has never been there."""

    async def run_checks(self) -> list[CheckResult]:
        """Check version and settings that a guarantee needs; for `doctor`."""
