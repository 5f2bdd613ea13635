"""The tables of a memory database, and transactions on them. Adapter: imports the ports.

Rows are immutable, in plain dictionaries. A transaction keeps its changes apart and reads the committed rows through
them. The commit applies all changes between two awaits; a rollback drops them.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field
from itertools import count
from types import MappingProxyType
from typing import Any, Final, Generic, TypeVar, cast

from freehold.database import DatabaseTransaction
from freehold.errors import ConfigurationError
from freehold.life import Life, LifeState

__all__ = ["MemoryData", "MemoryStore", "MemoryTransaction", "Rows", "Table", "WriterLock", "memory_transaction"]

K = TypeVar("K")
V = TypeVar("V")
_DELETED: Final = object()


@dataclass(frozen=True, slots=True)
class Table(Generic[K, V]):
    """A table by name; the type parameters are those of its keys and rows."""

    name: str


class WriterLock:
    """The lock of the one writer. It is handed on in the order of the requests; a client that is gone gives it up."""

    def __init__(self) -> None:
        self._holder: object | None = None
        self._waiting: list[tuple[object, asyncio.Future[None]]] = []

    def take(self, client: object) -> bool:
        """Take the lock if it is free."""
        if self._holder is not None:
            return False
        self._holder = client
        return True

    async def acquire(self, client: object) -> None:
        """Wait until the lock is this client's."""
        if self.take(client):
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((client, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._waiting = [each for each in self._waiting if each[1] is not turn]
            else:
                self.release(client)  # it was handed on in the moment of the cancellation
            raise

    def release(self, client: object) -> None:
        """Hand the lock on; nothing where it is not this client's."""
        if self._holder is not client:
            return
        self._holder = None
        while self._waiting:
            following, turn = self._waiting.pop(0)
            if not turn.done():
                self._holder = following
                turn.set_result(None)
                return

    def abandon(self, client: object) -> None:
        """Forget a client that will never run again."""
        self._waiting = [each for each in self._waiting if each[0] is not client]
        self.release(client)


@dataclass(slots=True, weakref_slot=True)
class MemoryData:
    """The data that all databases of one name share: committed rows, the lock of the one writer, a sequence."""

    tables: dict[str, dict[Any, Any]] = field(default_factory=dict)
    writer: WriterLock = field(default_factory=WriterLock)
    sequence: Iterator[int] = field(default_factory=lambda: count(1))
    migrations: list[str] = field(default_factory=list)
    partitions: int | None = None
    owner: str | None = None

    def committed(self, table: Table[K, V]) -> Mapping[K, V]:
        """The committed rows of a table, as a view."""
        return MappingProxyType(self.tables.setdefault(table.name, {}))


class Rows(Generic[K, V]):
    """A table as one transaction sees it."""

    def __init__(self, committed: Mapping[K, V]) -> None:
        self._committed = committed
        self._changes: dict[K, object] = {}

    def get(self, key: K) -> V | None:
        """The row of a key, or None."""
        changed = self._changes.get(key, self._committed.get(key))
        return None if changed is _DELETED else cast("V | None", changed)

    def put(self, key: K, row: V) -> None:
        """Insert or replace a row."""
        self._changes[key] = row

    def remove(self, key: K) -> bool:
        """Delete a row. False where there was none."""
        found = self.get(key) is not None
        if found:
            self._changes[key] = _DELETED
        return found

    def items(self) -> list[tuple[K, V]]:
        """All rows with their keys, in no promised order."""
        kept = [(key, row) for key, row in self._committed.items() if key not in self._changes]
        changed = [(key, cast("V", row)) for key, row in self._changes.items() if row is not _DELETED]
        return kept + changed

    def values(self) -> list[V]:
        """All rows, in no promised order."""
        return [row for _, row in self.items()]

    def apply(self, target: dict[K, V]) -> None:
        """Apply the changes to the committed rows."""
        for key, row in self._changes.items():
            if row is _DELETED:
                target.pop(key, None)
            else:
                target[key] = cast("V", row)


_BUSINESS: Final[Table[Any, Any]] = Table("business")


class MemoryTransaction(DatabaseTransaction):
    """A transaction in progress on a memory database."""

    def __init__(self, data: MemoryData, *, owned: bool = True) -> None:
        self._data = data
        self._rows: dict[str, Rows[Any, Any]] = {}
        self._life = Life()
        self._owned = owned
        self._native = MemoryStore(self)

    @property
    def native(self) -> MemoryStore:
        """A dictionary for the user's own rows, in this transaction."""
        return self._native

    @property
    def owned(self) -> bool:
        """Whether Freehold ends the transaction."""
        return self._owned

    @property
    def life(self) -> Life:
        """Whether it is open, and how it ended."""
        return self._life

    @property
    def ended(self) -> bool:
        """Whether it was committed or rolled back."""
        return not self.life.is_open

    def belongs_to(self, data: MemoryData) -> bool:
        """Whether this is a transaction on that database."""
        return self._data is data

    def draw(self) -> int:
        """The next number of the database's sequence; a rollback does not return it."""
        return next(self._data.sequence)

    def rows(self, table: Table[K, V]) -> Rows[K, V]:
        """A table as this transaction sees it. Raises `TransactionEnded` when the transaction has ended."""
        self.life.check()
        if table.name not in self._rows:
            self._rows[table.name] = Rows(self._data.committed(table))
        return self._rows[table.name]

    def commit(self) -> None:
        """Apply every change at once, and end. Raises `TransactionMisused` where it must be rolled back."""
        self.life.seal()
        for name, rows in self._rows.items():
            rows.apply(self._data.tables.setdefault(name, {}))
        self.life.end(LifeState.COMMITTED)

    def roll_back(self) -> None:
        """Drop all changes, and end. Does nothing where it has ended already."""
        self.life.end(LifeState.ROLLED_BACK)


class MemoryStore(MutableMapping[Any, Any]):
    """The native connection of a memory database: a dictionary that belongs to a transaction.

    Values are copied in and out, so that a rollback also undoes changes inside of them.
    """

    def __init__(self, db_tx: MemoryTransaction) -> None:
        self._db_tx = db_tx

    @property
    def db_tx(self) -> MemoryTransaction:
        """The transaction that it belongs to."""
        return self._db_tx

    def __getitem__(self, key: Any) -> Any:
        found = self._db_tx.rows(_BUSINESS).get(key)
        if found is None:
            raise KeyError(key)
        return copy.deepcopy(found[0])

    def __setitem__(self, key: Any, value: Any) -> None:
        self._db_tx.rows(_BUSINESS).put(key, (copy.deepcopy(value),))

    def __delitem__(self, key: Any) -> None:
        if not self._db_tx.rows(_BUSINESS).remove(key):
            raise KeyError(key)

    def __iter__(self) -> Iterator[Any]:
        return iter([key for key, _ in self._db_tx.rows(_BUSINESS).items()])

    def __len__(self) -> int:
        return len(self._db_tx.rows(_BUSINESS).items())


def memory_transaction(db_tx: DatabaseTransaction) -> MemoryTransaction:
    """The memory side of a database transaction. Raises `ConfigurationError` for one of another database."""
    if not isinstance(db_tx, MemoryTransaction):
        raise ConfigurationError(
            f"a {type(db_tx).__name__} was given to a store in memory", hint="use the stores of the same database"
        )
    return db_tx
