"""A record of the messages that services sent. Testing: imports the runtime."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar
from uuid import UUID

from freehold.broker import Broker, OutgoingMessage, PublishConfirmed, PublishOutcome
from freehold.messages import Envelope, decode_body, decode_envelope, message_type
from freehold.runtime import RunningService
from freehold.schedule.store import SCHEDULE

__all__ = ["Recording", "recorded"]

T = TypeVar("T")
_SCHEDULED_MAX = 10_000


class Recording:
    """Messages that a broker confirmed, in that order; a message that was sent twice is recorded once.

    Only committed messages are sent, by the relay, after the commit: `await settled(…)` before you read the record.
    """

    def __init__(self, services: Sequence[RunningService]) -> None:
        self._services = services
        self._envelopes: dict[UUID, Envelope] = {}

    @property
    def envelopes(self) -> Sequence[Envelope]:
        """All messages with their envelopes: key, causes, headers."""
        return list(self._envelopes.values())

    def messages(self, declared: type[T]) -> list[T]:
        """Events and commands of a class."""
        wanted = message_type(declared)
        return [
            decode_body(each.body, wanted)
            for each in self._envelopes.values()
            if (each.type, each.version) == (wanted.name, wanted.version)
        ]

    async def scheduled(self, declared: type[T]) -> list[T]:
        """Messages of a class that are not due yet, the next one first. Raises `Unavailable`."""
        wanted = message_type(declared)
        found = []
        for running in self._services:
            for each in await running.stores[SCHEDULE].find(None, _SCHEDULED_MAX):
                envelope = decode_envelope(each.message.document)
                if (envelope.type, envelope.version) == (wanted.name, wanted.version):
                    found.append((each.due_at, decode_body(envelope.body, wanted)))
        return [message for _, message in sorted(found, key=lambda each: each[0])]

    def clear(self) -> None:
        """Remove the messages that were recorded so far."""
        self._envelopes.clear()

    def note(self, messages: Sequence[OutgoingMessage], outcomes: Sequence[PublishOutcome]) -> None:
        """Record the messages that the broker confirmed."""
        for message, outcome in zip(messages, outcomes, strict=True):
            if isinstance(outcome, PublishConfirmed) and message.id not in self._envelopes:
                self._envelopes[message.id] = decode_envelope(message.document)


@contextmanager
def recorded(*services: RunningService | Iterable[RunningService]) -> Iterator[Recording]:
    """Record what running services, or those of a `Runtime`, send from now on.

    with recorded(runtime) as sent:
        ...
    assert sent.messages(OrderPlaced) == [OrderPlaced("A-1")]
    """
    running = all_of(services)
    recording = Recording(running)
    with ExitStack() as stack:
        for broker in {id(each.broker): each.broker for each in running}.values():
            stack.enter_context(_recording(broker, recording))
        yield recording


def all_of(services: Iterable[RunningService | Iterable[RunningService]]) -> list[RunningService]:
    """Running services, also those of runtimes."""
    found: list[RunningService] = []
    for each in services:
        found += [each] if isinstance(each, RunningService) else list(each)
    return found


@contextmanager
def _recording(broker: Broker, recording: Recording) -> Iterator[None]:
    """Record what is published to one broker, by replacing its method: relays look it up at each call."""
    publish = broker.publish

    async def recorded_publish(
        messages: Sequence[OutgoingMessage], timeout_seconds: float, *, log: str = ""
    ) -> Sequence[PublishOutcome]:
        outcomes = await publish(messages, timeout_seconds, log=log)
        recording.note(messages, outcomes)
        return outcomes

    place: dict[str, Any] = vars(broker)
    before = place.get("publish")
    place["publish"] = recorded_publish
    try:
        yield
    finally:
        if before is None:
            del place["publish"]
        else:
            place["publish"] = before
