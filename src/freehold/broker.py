"""The broker port: a partitioned, durable log of messages with consumer groups. Port: imports the foundation only.

Semantics, for every adapter (the conformance suite proves them):

  - **publish** stores each message or says why not. Within one call, messages of one (topic, key) are stored in the
    order given; where one of them is not stored, none after it of that key is. `PublishConfirmed` means the broker has
    confirmed it as durably as the adapter's `Features` say. A message may be stored twice when a confirmation was lost
    (at least once).
- **topics** need no declaration by the publisher, and keep messages for groups that have not come yet, within
retention.
- A **group** sees every message of its topics at least once. Its members share the partitions; a (topic, key) is
always in
  the same partition, one member holds a partition at a time, and its messages come in order. When a member dies or
  pauses, another takes over from the last acknowledged message; the late one's acknowledgements have no effect.
- **fetch** delivers a batch of one partition and none of that partition again until the batch is settled, so batches
of
  different partitions may be worked on side by side. Acknowledging moves the group's position past a prefix of the
  batch.
- `Delivery.attempt` counts how often the message was delivered, as far as the broker knows; it is counted before
  delivering, so that a message that crashes its consumer is recognised. A consumer that was kept from handling it by
  something else takes the count back when it settles.
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
    """A message delivered. `position` names its place for people and logs."""

    document: bytes = field(repr=False)
    attempt: int
    position: str


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
    gone   members and holders whose process has provably died; nothing is said of others.
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
    """Deliveries of one partition, in order."""

    @property
    def topic(self) -> str:
        """The topic they come from."""

    @property
    def partition(self) -> int:
        """The partition they come from."""

    @property
    def deliveries(self) -> Sequence[Delivery]:
        """At least one."""

    async def settle(self, acknowledged: int, *, counted: bool = True) -> None:
        """Acknowledge the first `acknowledged` deliveries and give the partition back; the rest comes again.

        Not `counted`: that the rest was delivered counts for no attempt, for what stood in the way was not the rest.
        Raises `LeaseLost` when another member took the partition over (nothing is acknowledged then), `Unavailable`
        when the broker cannot be reached (the batch comes again). Exactly one call for each batch.
        """


class Consumer(Protocol):
    """A member of a group. Used by many tasks at once."""

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
    """A messaging system. Safe to share between tasks; opened once per process and event loop."""

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
