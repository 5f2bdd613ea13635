"""Operators' actions on dead letters: find, edit, replay, discard. Pattern: imports context, audit and its package.

Every action is one transaction with its audit row. A replay is a new message, caused by the original, for the one
consumer that failed (inbound) or for the broker (outbound). A request keeps its idempotency key: if it was handled
after all, or its compensation came meanwhile, the replay has no effect.

Inbox and outbox, which this module must not import, register how a message is sent again: see `ReplayRoutes`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from uuid import UUID

from freehold.audit.store import AUDIT, AuditEntry
from freehold.context import ServiceContext, Signal
from freehold.crash_points import crash_point
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
    restarted_trace,
    upcasters,
)
from freehold.messages.values import encode_checked

__all__ = ["DeadLetterActions", "ReplayRoute", "ReplayRoutes"]

ReplayRoute = Callable[[ServiceContext, DatabaseTransaction, DeadLetter, Envelope], Awaitable[None]]
"""Sends the envelope of a dead letter again, in a transaction of its service."""


class ReplayRoutes:
    """The functions that send a dead letter again, by direction. Patterns register them when they are wired."""

    def __init__(self) -> None:
        self._routes: dict[Direction, ReplayRoute] = {}
        self._signals: dict[Direction, Signal] = {}

    def add(self, direction: Direction, route: ReplayRoute, signal: Signal) -> None:
        """Register the function for a direction, and the signal that wakes the loop which does the rest."""
        self._routes[direction] = route
        self._signals[direction] = signal

    def of(self, direction: Direction) -> ReplayRoute:
        """Return the function for a direction."""
        return self._routes[direction]

    def signal(self, direction: Direction) -> Signal:
        """Return the signal for a direction."""
        return self._signals[direction]


class DeadLetterActions:
    """Actions on the dead letters of one service. The service runs, or only its database is open.

    `actor` and `reason` are written to the audit row.
    """

    def __init__(self, context: ServiceContext) -> None:
        self._context = context
        self._stores = context.stores
        self._clock = context.clock
        self._hlc = context.hlc
        self._replayed: set[Direction] = set()
        self._replay_window_seconds = context.settings.dead_letter_replay_window_seconds

    async def find(self, wanted: DeadLetterFilter) -> Sequence[DeadLetter]:
        """Return dead letters, newest first."""
        return await self._stores[DEAD_LETTERS].find(wanted)

    async def get(self, letter_id: UUID) -> DeadLetter:
        """Return one dead letter without locking it. Raises `NotFound`."""
        for letter in await self._stores[DEAD_LETTERS].find(DeadLetterFilter(status=None, id=letter_id)):
            return letter
        raise NotFound(f"there is no dead letter {letter_id}", hint="freehold dlq list shows the existing ones")

    async def edit(self, letter_id: UUID, body: bytes, *, actor: str, reason: str) -> None:
        """Set the body for the replay; the original stays as it is.

        Raises `NotFound`, `ConcurrencyConflict` where the dead letter has ended, and `CodecError` where the body does
        not fit its type or the envelope is unreadable: such a dead letter can only be discarded.
        """
        async with self._stores.database.begin() as db_tx:
            letter = await self._stores[DEAD_LETTERS].get(db_tx, letter_id)
            envelope = replace(_envelope(letter), body=body)
            _check_body(envelope)
            await self._stores[DEAD_LETTERS].edit(db_tx, letter_id, encode_envelope(envelope))
            crash_point("deadletters.before-edit-commit")
            await self._note(db_tx, letter_id, "dead-letter.edit", actor, reason)

    async def replay(self, letter_id: UUID, *, actor: str, reason: str, ignore_replay_window: bool = False) -> UUID:
        """Replay a dead letter: send it, or its edited form, as a new message; returns the id of that message.

        Raises `NotFound`, and `ConcurrencyConflict` if the dead letter was replayed or discarded, or is older than
        `dead_letter_replay_window_seconds`: receipts that would prevent a second effect may be pruned by then.
        `ignore_replay_window` replays it nevertheless.
        """
        async with self._stores.database.begin() as db_tx:
            sent = await self._replay(
                db_tx, letter_id, actor=actor, reason=reason, ignore_replay_window=ignore_replay_window
            )
        crash_point("deadletters.replayed")
        self._wake()
        return sent

    async def replay_many(
        self, letter_ids: Sequence[UUID], *, actor: str, reason: str, ignore_replay_window: bool = False
    ) -> Mapping[UUID, UUID | FreeholdError]:
        """Replay dead letters in one transaction; returns the new message's id for each, or why it was refused.

        A refused one does not stop the others. Pass a few hundred at a time: on SQLite this blocks other writers.
        Raises `Unavailable` where the database does not answer; then none was replayed.
        """

        async def replay(db_tx: DatabaseTransaction, letter_id: UUID) -> UUID:
            return await self._replay(
                db_tx, letter_id, actor=actor, reason=reason, ignore_replay_window=ignore_replay_window
            )

        outcomes = await self._each(letter_ids, replay)
        self._wake()
        return outcomes

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

    def _wake(self) -> None:
        """Wake the loops for what was replayed, here and in the processes that run the service."""
        replayed, self._replayed = self._replayed, set()
        for direction in replayed:
            self._context.emit(self._context.shared(ReplayRoutes).signal(direction))

    async def _each(
        self, letter_ids: Sequence[UUID], act: Callable[[DatabaseTransaction, UUID], Awaitable[UUID]]
    ) -> Mapping[UUID, UUID | FreeholdError]:
        """Act on all in one transaction. If the database refuses one, the transaction may be void: then act on each in
        its own.
        """
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
        """Replay one. All checks come before the first write, since other replays may share the transaction."""
        letter = await self._stores[DEAD_LETTERS].get(db_tx, letter_id)
        _check_dead(letter)
        self._check_age(letter, ignore_replay_window=ignore_replay_window)
        original = _envelope(letter)
        again = restarted_trace(
            replace(original, id=new_id(), causation_id=original.id, time=self._clock.now(), hlc=self._hlc.tick())
        )
        await self._context.shared(ReplayRoutes).of(letter.direction)(self._context, db_tx, letter, again)
        await self._stores[DEAD_LETTERS].mark(db_tx, letter_id, DeadLetterStatus.REPLAYED, again.id)
        await self._note(db_tx, letter_id, "dead-letter.replay", actor, reason)
        crash_point("deadletters.before-replay-commit")
        self._replayed.add(letter.direction)
        return again.id

    async def _discard(self, db_tx: DatabaseTransaction, letter_id: UUID, *, actor: str, reason: str) -> None:
        await self._stores[DEAD_LETTERS].mark(db_tx, letter_id, DeadLetterStatus.DISCARDED, None)
        crash_point("deadletters.before-discard-commit")
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
            f"dead letter {letter.id} has no readable envelope: {error.message}",
            hint="it can only be discarded; ask the sender to send the message again",
        ) from None


def _check_body(envelope: Envelope) -> None:
    """Check that a body fits its type; a version that has only an upcaster is upcast first. A type that is not declared
    in this process is not checked: the command line may run without the services' modules.
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
