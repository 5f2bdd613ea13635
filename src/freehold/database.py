"""The database port: one service's own database and its transactions. Port: imports the foundation only.

A method of a store takes a `DatabaseTransaction` if its write belongs to the business transaction, and none if the
write is a transaction of its own (relays, pruning). Adapters are in `freehold.adapters`; the first part of the URL's
scheme selects one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol, runtime_checkable

from freehold.errors import ConfigurationError, FreeholdError
from freehold.fields import bounded, check, seconds
from freehold.life import Life

__all__ = [
    "CheckResult",
    "CommitWatching",
    "Database",
    "DatabaseFeatures",
    "DatabaseOptions",
    "DatabaseTransaction",
    "Defect",
    "Measured",
    "StatementMeter",
    "check_clock",
    "check_owner",
]

_CLOCKS_APART_SECONDS_MAX: Final = 2.0
_LIMIT_SECONDS_MAX: Final = 2_000_000.0
"""PostgreSQL keeps its limits as milliseconds in 31 bits."""


@dataclass(frozen=True, slots=True)
class DatabaseFeatures:
    """What an engine guarantees, as data: the conformance suites and the docs read it.

    technology          name for operators, "PostgreSQL".
    emulation           true where it replaces a real system in tests and examples.
    durable             a commit survives kill -9 of every process.
    concurrent_writers  several transactions write at once (SQLite has one writer at a time).
    several_processes   several processes may open it at once.
    transactional_ddl   a rollback undoes the creation, change or removal of tables and views.
    apart               how an operator separates two services.
    proves_death        knows that a process which held leases has died (see `freehold.leases.store`).
    """

    technology: str
    emulation: bool
    durable: bool
    concurrent_writers: bool
    several_processes: bool
    transactional_ddl: bool = True
    apart: str = "give each service a database of its own"
    proves_death: bool = False


@dataclass(frozen=True, slots=True)
class DatabaseOptions:
    """How a database is opened; every wait has a limit.

    `idle_transaction_timeout_seconds` is how long a transaction may be idle between two statements before the server
    ends it (PostgreSQL; 0 turns it off): an open transaction of a frozen process blocks readers until then.
    `partitions` divides the outbox between relays; it is written into the database when the tables are made and read
    from there afterwards, so that all instances use the same number.
    """

    pool_size: int = bounded(8, 1, 10_000)
    pool_timeout_seconds: float = seconds(10.0)
    connect_timeout_seconds: float = seconds(5.0)
    statement_timeout_seconds: float = seconds(15.0, most=_LIMIT_SECONDS_MAX)
    lock_timeout_seconds: float = seconds(5.0, most=_LIMIT_SECONDS_MAX)
    idle_transaction_timeout_seconds: float = seconds(60.0, least=0.0, most=_LIMIT_SECONDS_MAX)
    partitions: int = bounded(8, 1, 1024)

    def __post_init__(self) -> None:
        """Refuse values of a wrong type or outside of their range. Raises `ConfigurationError`."""
        check(self, "database_options")


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One result of `freehold doctor`. If it is not `ok`, `fix` says what to do."""

    subject: str
    ok: bool
    detail: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Defect:
    """A difference between a database and what its migrations made.

    subject   what differs: `table freehold_outbox`, `column sale.total`.
    problem   what is wrong with it: `is missing`, `has the type text instead of bigint`.
    made_by   the migration that made it, named as by `pending`; empty where no migration did.
    fix       what to do about it.
    lossless  whether `repair` repairs it without loss of data.
    vital     whether statements of a running service fail, or do damage, until it is repaired.
    """

    subject: str
    problem: str
    made_by: str
    fix: str
    lossless: bool = False
    vital: bool = True

    def __str__(self) -> str:
        made = f" (made by {self.made_by})" if self.made_by else ""
        return f"{self.subject} {self.problem}{made}: {self.fix}"


def check_clock(subject: str, theirs: datetime | None, asked_at: datetime, answered_at: datetime) -> CheckResult:
    """Compare a server's clock with this machine's, for `doctor`. `asked_at` and `answered_at` are this machine's times
    before and after the server answered with `theirs`.

    Due times and retention depend on the server's clock. Orders and leases do not.
    """
    if theirs is None:
        return CheckResult(subject, ok=True, detail="the server does not report its time")
    away = max((asked_at - theirs).total_seconds(), (theirs - answered_at).total_seconds(), 0.0)
    if away <= _CLOCKS_APART_SECONDS_MAX:
        return CheckResult(subject, ok=True, detail=f"within {_CLOCKS_APART_SECONDS_MAX:g} s of this machine's")
    where = "behind" if theirs < asked_at else "ahead of"
    return CheckResult(
        subject,
        ok=False,
        detail=f"the server's clock is {away:.1f} s {where} this machine's: due times and retention are wrong by that",
        fix="keep the clocks of both machines in step (NTP)",
    )


class DatabaseTransaction(Protocol):
    """A transaction in progress on the service's database.

    An implementation keeps:

    1. What Freehold's stores write with it, and what the user writes through `native`, is one transaction of the
       engine: its statements see each other, other transactions see them after the commit, and never after a rollback.
    2. Freehold never commits or rolls back a transaction that it does not own (`owned`).
    3. Two tasks in a transaction that Freehold began take turns: one statement runs at a time.
    4. After its end, each use of what belongs to it raises `TransactionEnded`, and does not reach another transaction.
    5. An attempt to end it in another way than by its block raises `TransactionMisused`. The end of the block then
       rolls back and raises as well, also if the error was caught inside.

    `native` is what the user writes with: a SQLAlchemy `AsyncConnection` by default, or the user's own session or
    connection if that was enlisted. `owned` is false for an enlisted one.
    """

    @property
    def native(self) -> Any:
        """The connection the user writes with."""

    @property
    def owned(self) -> bool:
        """Whether Freehold ends the transaction."""

    @property
    def life(self) -> Life:
        """Whether it is open, and how it ended; see `freehold.life`."""


class Database(Protocol):
    """One service's database: opened once, shared by everything in the process that serves this service.

    An implementation keeps:

    1. The block of `begin` is one transaction: it commits when the block ends, and rolls back when the block raises or
       is cancelled. An exception that is not the engine's is raised unchanged.
    2. A cancellation loses no connection, at whatever point it arrives. After an error the connection can be used like
       a new one.
    3. Every wait has a limit, also a wait for a connection or a lock; a transaction that cannot begin raises
       `Unavailable` in time. When the answer to COMMIT is lost, `Unavailable` is raised and the outcome is unknown.
    4. Errors of the engine become `Unavailable` (try later), `ConcurrencyConflict` (try again) or `DatabaseError`
       (trying again does not help). The texts contain no values. Other errors are not changed.
    5. Several processes may call `upgrade` and `repair` at once; a second `upgrade` changes nothing. If several
       services upgrade one database at once, one owns it; the others get `ConfigurationError` before anything is
       applied.
    6. `open`, `close`, `ping` and `probe` may be repeated, and a closed database may be opened again. A probe writes
       the same row each time, and no pattern reads it.
    7. `enlist` accepts only objects that can carry a transaction. For others `ConfigurationError` says which those are.
    8. Every result of `run_checks` that is not ok says what to do.
    """

    @property
    def features(self) -> DatabaseFeatures:
        """What the engine guarantees."""

    async def open(self) -> None:
        """Connect, and check that the engine's version is supported. Raises `Unavailable`, `ConfigurationError`.
        Idempotent.
        """

    async def close(self) -> None:
        """Release every connection. Idempotent."""

    async def ping(self, timeout_seconds: float) -> None:
        """Return when the database answers a query. Raises `Unavailable`, within the time limit."""

    async def probe(self, timeout_seconds: float) -> None:
        """Write a row of Freehold's own and commit it, within the time limit; the tables must exist. The row is the
        same each time, so it may be done every few seconds.

        Raises the reason why a transaction cannot commit: `Unavailable` (read-only, no space left, locked by another
        transaction), `DatabaseError` (a right or a table is missing).
        """

    def begin(self) -> AbstractAsyncContextManager[DatabaseTransaction]:
        """Open a transaction for the length of a block, whose end commits it.

        Entering raises `Unavailable` if no connection is free in time. Errors of the engine are raised as
        `translate_error` translates them. The transaction counts as ended as soon as the end of the block begins.
        """

    def enlist(self, native: object) -> DatabaseTransaction:
        """Wrap a transaction of the user's own (SQLAlchemy `AsyncSession` or `AsyncConnection`, asyncpg connection,
        psycopg `AsyncConnection`). Raises `ConfigurationError` for anything else, and if no transaction is open and
        the driver would commit each statement by itself.
        """

    def translate_error(self, error: BaseException) -> FreeholdError | None:
        """Translate an exception of the driver: `Unavailable` (try later), `ConcurrencyConflict` (try again),
        `DatabaseError` (trying again does not help), or None for an error that is not the database's. The text contains
        no values.
        """

    async def upgrade(self, service: str | None = None) -> list[str]:
        """Apply the missing migrations, Freehold's own and the service's; returns their names. Several processes may do
        it at once.

        `service` becomes the owner of the database; if two services upgrade at once, one of them does. Raises
        `ConfigurationError` if another service owns it, before anything is applied. Without `service` no owner is
        written: for databases that several consumers share to keep receipts.
        """

    async def owner(self) -> str | None:
        """The service that owns the database; None for none."""

    async def mark(self, db_tx: DatabaseTransaction, service: str, *, instead_of: str) -> None:
        """Replace the owner `instead_of` by `service`: for a service that has another name now.

        Raises `ConfigurationError` if `instead_of` is not the owner.
        """

    async def pending(self) -> list[str]:
        """Names of the migrations that `upgrade` would apply."""

    async def defects(self, *, closer: bool = True) -> list[Defect]:
        """Compare the tables, and everything else in the database, with what the applied migrations made. Reads only.

        Without `closer` it reads the engine's catalogue only, for the start of a service: it does not count the rows
        that violate a missing constraint, nor plan the query of a view.
        Objects that were added by hand are ignored. Objects of the service's own migrations are compared as far as
        those migrations say for certain what they make. Raises `DatabaseError` if the record of the applied migrations
        is lost.
        """

    async def repair(self) -> list[str]:
        """Repair the `defects` that can be repaired without loss; returns their subjects. Several processes may do it
        at once. An object that held data is never created again empty. A defect that cannot be repaired stays, and does
        not stop the repair of the others.
        """

    async def relations(self, names: Sequence[str]) -> dict[str, str]:
        """The kind of relation that has each of these names (`table`, or `schema.table`): `table`, `view`,
        `materialized view` …; names that no relation has are left out.
        """

    def script(self, service: str, port: str | None = None) -> str:
        """What `upgrade` does in an empty database of this service, as a script for the engine's own tool; with `port`,
        only the tables and functions of that port. Needs no connection.

        Raises `ConfigurationError` if the engine has no SQL, `NotFound` if the port has no tables.
        """

    async def grants(self, role: str, schema: str | None = None) -> list[str]:
        """Statements, for the owner of the tables, by which a role may do everything that a running service does, and
        may not make tables; also for tables of later upgrades. `schema` is by default the schema of the tables.

        Raises `ConfigurationError` if the engine has no roles, and for a name that no role can have.
        """

    async def run_checks(self) -> list[CheckResult]:
        """Check server version and settings that a guarantee needs; for `doctor`."""


def check_owner(features: DatabaseFeatures, owner: str | None, service: str) -> None:
    """Refuse a database that another service owns. Raises `ConfigurationError`."""
    if owner not in {None, service}:
        raise ConfigurationError(
            f"the database belongs to '{owner}', and this is '{service}'",
            hint=f"{features.apart}; if '{owner}' is called '{service}' now: freehold db mark {service}"
            f" --instead-of {owner}",
        )


class StatementMeter(Protocol):
    """Is told of each statement of Freehold's and of the service's."""

    def ended(self, statement: str, seconds: float, *, ok: bool) -> None:
        """Note a statement that took so long; `ok` is False where it raised. It must not block or raise."""


@runtime_checkable
class Measured(Protocol):
    """A database that can tell how long its statements take, and how many connections it has."""

    @property
    def connections(self) -> Mapping[str, int]:
        """The number of open connections, by `idle` and `used`."""

    def measure(self, meter: StatementMeter) -> None:
        """Tell `meter` of each statement from now on. Called before `open`."""


@runtime_checkable
class CommitWatching(Protocol):
    """A database that can report the commits of a user's own transactions."""

    def on_commit(self, native: object, call: Callable[[], None]) -> None:
        """Register a call for each commit of a session or connection of the user's; no effect if its library reports
        no commits. Each session or connection has one call: a later registration changes nothing.
        """
