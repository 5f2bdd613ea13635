"""How messages are staged on PostgreSQL. Imports the SQL base, the ports, and its sibling `literals`.

Without locks two transactions could draw positions for one key in one order and commit in the other. So a function in
the database (`schema/functions/outbox.sql`):

1. acquires an advisory lock for each key, in a fixed order. The locks end with the transaction, after its commit is
   visible. Keys with the same hash wait for each other without need;
2. takes a marker: a shared lock whose number is the sequence's last value. It means "this transaction draws positions
   above this number";
3. draws positions and inserts the rows.

It is called in one of two ways. As a statement of its own it returns the positions. In a transaction that Freehold ends
it is sent with the COMMIT.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from freehold.adapters.postgres.literals import is_writable
from freehold.adapters.sql.engine.commit_text import Closing, FunctionCall, closing_of
from freehold.adapters.sql.engine.connection import sql_of
from freehold.adapters.sql.engine.dialect import Dialect
from freehold.broker import OutgoingMessage
from freehold.database import DatabaseTransaction
from freehold.ids import stable_hash

__all__ = ["Staging"]

_LOCK_SPACE: Final = "freehold.outbox/"
_ONE: Final = "freehold_outbox_stage"
_ONE_TYPES: Final = ("bigint", "integer", "uuid", "text", "text", "bytea", "timestamptz")
_ONE_SQL: Final = """\
SELECT freehold_outbox_stage($1::bigint, $2::integer, $3::uuid, $4::text, $5::text, $6::bytea, $7::timestamptz)"""
_ALL: Final = "freehold_outbox_stage_all"
_ALL_TYPES: Final = ("bigint[]", "integer[]", "uuid[]", "text[]", "text[]", "bytea[]", "timestamptz")
_ALL_SQL: Final = """\
SELECT freehold_outbox_stage_all(
    $1::bigint[], $2::integer[], $3::uuid[], $4::text[], $5::text[], $6::bytea[], $7::timestamptz)"""
_FOLDED_MESSAGES_MAX: Final = 64
_FOLDED_BYTES_MAX: Final = 32_768
"""More bytes cost more as digits in a text than a round trip saves."""


class Staging:
    """Stages messages in a number of partitions."""

    def __init__(self, dialect: Dialect, partitions: Callable[[], int]) -> None:
        self._dialect = dialect
        self._partitions = partitions
        self._prefix = f'"{dialect.schema}".' if dialect.schema else ""

    async def stage(self, db_tx: DatabaseTransaction, messages: Sequence[OutgoingMessage]) -> Sequence[int]:
        """Stage messages, in one round trip; returns their positions."""
        if not messages:
            return ()
        sql = _ONE_SQL if len(messages) == 1 else _ALL_SQL
        ((found,),) = await sql_of(db_tx).fetch(sql, self._arguments(messages))
        return [found] if len(messages) == 1 else list(found)

    async def stage_last(
        self,
        db_tx: DatabaseTransaction,
        messages: Sequence[OutgoingMessage],
        tell: Callable[[Sequence[int]], None] | None,
    ) -> None:
        """Stage messages with the COMMIT where Freehold sends it; else at once."""
        closing = closing_of(db_tx)
        if closing is None or not self._goes_with(closing, messages):
            positions = await self.stage(db_tx, messages)
            if tell is not None:
                tell(positions)
            return
        one = len(messages) == 1
        function = self._prefix + (_ONE if one else _ALL)
        call = FunctionCall(function, self._arguments(messages), _ONE_TYPES if one else _ALL_TYPES)
        closing.add(call, None if tell is None else lambda result: tell(_positions(result)))

    @staticmethod
    def _goes_with(closing: Closing, messages: Sequence[OutgoingMessage]) -> bool:
        """Whether messages are sent with the COMMIT: where they are few and short, and PostgreSQL can store their
        texts. Else the statement with parameters says what is wrong with them. Behind others that wait for the COMMIT
        all go with it: the order of a key must not change.
        """
        size = sum(len(message.document) for message in messages)
        short = len(messages) <= _FOLDED_MESSAGES_MAX and size <= _FOLDED_BYTES_MAX
        writable = all(is_writable(message.key) and is_writable(message.topic) for message in messages)
        return bool(messages) and writable and (short or bool(closing.calls))

    def _arguments(self, messages: Sequence[OutgoingMessage]) -> tuple[object, ...]:
        if len(messages) == 1:
            (message,) = messages
            key = message.key
            place = self._lock(key), self._partition(key)
            return (*place, message.id, message.topic, key, message.document, self._dialect.now())
        return (
            sorted({self._lock(message.key) for message in messages}),
            [self._partition(message.key) for message in messages],
            [message.id for message in messages],
            [message.topic for message in messages],
            [message.key for message in messages],
            [message.document for message in messages],
            self._dialect.now(),
        )

    def _lock(self, key: str) -> int:
        return self._dialect.lock_number(_LOCK_SPACE + key)

    def _partition(self, key: str) -> int:
        return stable_hash(key) % self._partitions()


def _positions(result: str) -> Sequence[int]:
    """The positions in a result: a number, or an array of numbers."""
    return [int(position) for position in result.strip("{}").split(",")]
