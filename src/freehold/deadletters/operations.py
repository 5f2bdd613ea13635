"""What operators do with dead letters: look, edit, replay, discard. Pattern: imports the context, the audit, its
package.

Every action is one transaction with its audit row. A replay is a new message, caused by the original, for the one
consumer that failed (inbound) or for the broker (outbound). A request keeps its idempotency key: if it was handled
after all, or its compensation came meanwhile, the replay has no effect.

The pattern that gave a message up says how it is sent again: it is a layer above, and registers a route.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from uuid import UUID

from freehold.audit.store import AUDIT, AuditEntry
from freehold.context import ServiceContext
from freehold.database import DatabaseTransaction
from freehold.deadletters.store import DEAD_LETTERS, DeadLetter, DeadLetterFilter, DeadLetterStatus, Direction
from freehold.errors import (
    CodecError,
    ConcurrencyConflict,
    FreeholdError,
    NotFound,
    Unavailable,
    UnknownMessage,
)
from freehold.ids import new_id
from freehold.messages import (
    Envelope,
    decode_body,
    decode_envelope,
    encode_envelope,
    read_event,
    registry,
    upcasters,
)
from freehold.messages.values import encode_checked

__all__ = ["DeadLetterActions", "ReplayRoute", "ReplayRoutes"]

ReplayRoute = Callable[[ServiceContext, DatabaseTransaction, DeadLetter, Envelope], Awaitable[None]]
"""Sends a dead letter's envelope again, in a transaction of the service's."""


class ReplayRoutes:
    """How a message is sent again, by the direction in which it failed. Patterns register theirs when wired."""

    def __init__(self) -> None:
        self._routes: dict[Direction, ReplayRoute] = {}

    def add(self, direction: Direction, route: ReplayRoute) -> None:
        """Have messages of a direction sent again by a function."""
        self._routes[direction] = route

    def of(self, direction: Direction) -> ReplayRoute:
        """The route of a direction."""
        return self._routes[direction]


class DeadLetterActions:
    """Actions on the dead letters of one service: of a running one, or of one whose database is open.

    `actor` is who acts, `reason` what they say about it.
    """

    def __init__(self, context: ServiceContext) -> None:
        self._context = context
        self._stores = context.stores
        self._clock = context.clock
        self._hlc = context.hlc
        self._replay_window_seconds = context.settings.dead_letter_replay_window_seconds

    async def find(self, wanted: DeadLetterFilter) -> Sequence[DeadLetter]:
        """Dead letters, newest first."""
        return await self._stores[DEAD_LETTERS].find(wanted)

    async def get(self, letter_id: UUID) -> DeadLetter:
        """One dead letter, as it is just now; nothing is locked. Raises `NotFound`."""
        for letter in await self._stores[DEAD_LETTERS].find(DeadLetterFilter(status=None, id=letter_id)):
            return letter
        raise NotFound(f"there is no dead letter {letter_id}", hint="freehold dlq list shows the existing ones")

    async def edit(self, letter_id: UUID, body: bytes, *, actor: str, reason: str) -> None:
        """Have another body replayed; the original stays as it is.

        Raises `NotFound`, `ConcurrencyConflict` (it has ended), `CodecError` where the body does not fit its type, and
        where the envelope itself is unreadable: such a dead letter can only be discarded.
        """
        async with self._stores.database.begin() as db_tx:
            letter = await self._stores[DEAD_LETTERS].get(db_tx, letter_id)
            envelope = replace(_envelope(letter), body=body)
            _check_body(envelope)
            await self._stores[DEAD_LETTERS].edit(db_tx, letter_id, encode_envelope(envelope))
            await self._note(db_tx, letter_id, "dead-letter.edit", actor, reason)

    async def replay(self, letter_id: UUID, *, actor: str, reason: str, ignore_replay_window: bool = False) -> UUID:
        """Replay a dead letter: send it, or its edited form, as a new message; returns the id of that message.

        Raises `NotFound`, `ConcurrencyConflict` if the dead letter was replayed or discarded, or is older than
        `dead_letter_replay_window_seconds`: receipts that would prevent a second effect may be gone by then.
        `ignore_replay_window` accepts that.
        """
        async with self._stores.database.begin() as db_tx:
            return await self._replay(
                db_tx, letter_id, actor=actor, reason=reason, ignore_replay_window=ignore_replay_window
            )

    async def replay_many(
        self, letter_ids: Sequence[UUID], *, actor: str, reason: str, ignore_replay_window: bool = False
    ) -> Mapping[UUID, UUID | FreeholdError]:
        """Replay dead letters in one transaction; returns the new message's id for each, or why it was refused.

        One that is refused does not keep the others. Give some hundreds at a time: on SQLite nobody else writes
        meanwhile. Raises `Unavailable` where the database does not answer; then none of these was replayed.
        """

        async def replay(db_tx: DatabaseTransaction, letter_id: UUID) -> UUID:
            return await self._replay(
                db_tx, letter_id, actor=actor, reason=reason, ignore_replay_window=ignore_replay_window
            )

        return await self._each(letter_ids, replay)

    async def discard(self, letter_id: UUID, *, actor: str, reason: str) -> None:
        """Give the message up for good. Raises `NotFound`, `ConcurrencyConflict` where the dead letter has ended."""
        async with self._stores.database.begin() as db_tx:
            await self._discard(db_tx, letter_id, actor=actor, reason=reason)

    async def discard_many(
        self, letter_ids: Sequence[UUID], *, actor: str, reason: str
    ) -> Mapping[UUID, UUID | FreeholdError]:
        """Discard dead letters in one transaction, as `replay_many` replays them; returns each one's own id."""

        async def discard(db_tx: DatabaseTransaction, letter_id: UUID) -> UUID:
            await self._discard(db_tx, letter_id, actor=actor, reason=reason)
            return letter_id

        return await self._each(letter_ids, discard)

    async def _each(
        self, letter_ids: Sequence[UUID], act: Callable[[DatabaseTransaction, UUID], Awaitable[UUID]]
    ) -> Mapping[UUID, UUID | FreeholdError]:
        """Act on all in one transaction. What the database refuses may have ended that: then on each in its own."""
        outcomes: dict[UUID, UUID | FreeholdError] = {}
        try:
            async with self._stores.database.begin() as db_tx:
                for letter_id in letter_ids:
                    try:
                        outcomes[letter_id] = await act(db_tx, letter_id)
                    except (NotFound, ConcurrencyConflict, CodecError) as error:
                        outcomes[letter_id] = error
        except Unavailable:
            raise
        except FreeholdError as error:
            if len(letter_ids) == 1:
                return {letter_ids[0]: error}
            outcomes = {}
            for letter_id in letter_ids:
                outcomes.update(await self._each([letter_id], act))
        return outcomes

    async def _replay(
        self, db_tx: DatabaseTransaction, letter_id: UUID, *, actor: str, reason: str, ignore_replay_window: bool
    ) -> UUID:
        """Everything that refuses it comes before the first write: the transaction may be others' as well."""
        letter = await self._stores[DEAD_LETTERS].get(db_tx, letter_id)
        _check_dead(letter)
        self._check_age(letter, ignore_replay_window=ignore_replay_window)
        original = _envelope(letter)
        again = replace(original, id=new_id(), causation_id=original.id, time=self._clock.now(), hlc=self._hlc.tick())
        await self._context.shared(ReplayRoutes).of(letter.direction)(self._context, db_tx, letter, again)
        await self._stores[DEAD_LETTERS].mark(db_tx, letter_id, DeadLetterStatus.REPLAYED, again.id)
        await self._note(db_tx, letter_id, "dead-letter.replay", actor, reason)
        return again.id

    async def _discard(self, db_tx: DatabaseTransaction, letter_id: UUID, *, actor: str, reason: str) -> None:
        await self._stores[DEAD_LETTERS].mark(db_tx, letter_id, DeadLetterStatus.DISCARDED, None)
        await self._note(db_tx, letter_id, "dead-letter.discard", actor, reason)

    def _check_age(self, letter: DeadLetter, *, ignore_replay_window: bool) -> None:
        age_seconds = (self._clock.now() - letter.failed_at).total_seconds()
        if age_seconds > self._replay_window_seconds and not ignore_replay_window:
            days = f"{age_seconds / 86400:.1f} days"
            raise ConcurrencyConflict(
                f"dead letter {letter.id} is {days} old, more than dead_letter_replay_window_seconds",
                hint="make sure that its effect does not exist, then ignore the replay window",
            )

    async def _note(self, db_tx: DatabaseTransaction, letter_id: UUID, action: str, actor: str, reason: str) -> None:
        entry = AuditEntry(at=self._clock.now(), actor=actor, action=action, subject=str(letter_id), reason=reason)
        await self._stores[AUDIT].add(db_tx, entry)


def _check_dead(letter: DeadLetter) -> None:
    if letter.status is not DeadLetterStatus.DEAD:
        raise ConcurrencyConflict(
            f"dead letter {letter.id} was {letter.status.value} already",
            hint="a dead letter is replayed or discarded once",
        )


def _envelope(letter: DeadLetter) -> Envelope:
    try:
        return decode_envelope(letter.edited or letter.document)
    except CodecError as error:
        raise CodecError(
            f"dead letter {letter.id} holds no readable envelope: {error.message}",
            hint="it can only be discarded; have the sender send it again",
        ) from None


def _check_body(envelope: Envelope) -> None:
    """A version that is only upcast is upcast here as well. Of a type that is not declared here (the command line
    without the services' modules) JSON is all there is to know.
    """
    try:
        declared = registry.find(envelope.type, envelope.version)
    except UnknownMessage:
        if upcasters.find(envelope.type, envelope.version) is not None:
            with contextlib.suppress(UnknownMessage):
                for message in read_event(envelope.type, envelope.version, envelope.body):
                    encode_checked(message, of=envelope.type)
        return
    encode_checked(decode_body(envelope.body, declared), of=envelope.type)
