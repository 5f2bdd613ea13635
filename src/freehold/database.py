"""The database port: one service's own database and its transactions. Port: imports the foundation only.

A pattern's store takes a `DatabaseTransaction` wherever its write belongs to the business transaction, and none where
the write is a transaction of its own (relays, pruning). Adapters live in `freehold.adapters`; the first part of the
URL's scheme finds them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
    "check_owner",
    "examine_clock",
]

_CLOCKS_APART_SECONDS_MAX: Final = 2.0
_LIMIT_SECONDS_MAX: Final = 2_000_000.0
"""PostgreSQL keeps its limits as milliseconds in 31 bits."""


@dataclass(frozen=True, slots=True)
class DatabaseFeatures:
    """What an engine guarantees, as data: the conformance suites and the docs read it.

    technology          name for people, "PostgreSQL".
    emulation           true where it stands in for a real system.
    durable             a commit survives kill -9 of every process.
    concurrent_writers  several transactions write at once (SQLite has one writer at a time).
    several_processes   may be shared by processes.
    transactional_ddl   a rollback takes back what made, changed or dropped tables and views.
    apart               how two services are kept apart, for people.
    proves_death        tells that a process which held leases has died (see `freehold.leases.store`).
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

    `idle_transaction_timeout_seconds` is how long a transaction may stand between two statements before the server ends
    it (PostgreSQL; 0 turns it off): a process that was frozen holds everybody's readers up no longer. `partitions`
    divides the outbox between relays; it is written into the database when its tables are made and read from there
    afterwards, so that all instances agree.
    """

    pool_size: int = bounded(8, 1, 10_000)
    pool_timeout_seconds: float = seconds(10.0)
    connect_timeout_seconds: float = seconds(5.0)
    statement_timeout_seconds: float = seconds(15.0, most=_LIMIT_SECONDS_MAX)
    lock_timeout_seconds: float = seconds(5.0, most=_LIMIT_SECONDS_MAX)
    idle_transaction_timeout_seconds: float = seconds(60.0, least=0.0, most=_LIMIT_SECONDS_MAX)
    partitions: int = bounded(8, 1, 1024)

    def __post_init__(self) -> None:
        """Refuse values that cannot be meant. Raises `ConfigurationError`."""
        check(self, "database_options")


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One observation of `freehold doctor`: `ok` false asks for the `fix`."""

    subject: str
    ok: bool
    detail: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Defect:
    """Something in a database that is not as the migrations made it.

    subject   what it is, for people: `table freehold_outbox`, `column sale.total`.
    problem   what is wrong with it: `is missing`, `has the type text instead of bigint`.
    made_by   the migration that made it, as `pending` names them; empty where it was none.
    fix    what to do about it.
    lossless  whether `repair` makes it good, and nothing is lost by that.
    vital     whether statements that run time needs fail, or do harm, as long as it is so.
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


def examine_clock(subject: str, theirs: datetime | None, asked_at: datetime, answered_at: datetime) -> CheckResult:
    """How far a server's clock is from this machine's, as its answer told between two looks at this one; for `doctor`.

    No order and no lease depends on it. Times at which something is due, and how long things are kept, do.
    """
    if theirs is None:
        return CheckResult(subject, ok=True, detail="the server does not tell its time")
    away = max((asked_at - theirs).total_seconds(), (theirs - answered_at).total_seconds(), 0.0)
    if away <= _CLOCKS_APART_SECONDS_MAX:
        return CheckResult(subject, ok=True, detail=f"within {_CLOCKS_APART_SECONDS_MAX:g} s of this machine's")
    where = "behind" if theirs < asked_at else "ahead of"
    return CheckResult(
        subject,
        ok=False,
        detail=f"the server's clock is {away:.1f} s {where} this machine's: due times, ages, retention are off by it",
        fix="keep the clocks of both machines in step (NTP)",
    )


class DatabaseTransaction(Protocol):
    """A transaction in progress on the service's database.

    An implementation keeps:

    1. What is written with it, by Freehold's stores and by the user through `native`, is one transaction of the engine:
       its statements see each other, others see them after the commit, and nobody after a rollback.
    2. One that is not `owned` is never committed or rolled back by Freehold.
    3. Two tasks in a transaction that Freehold began take turns: one statement runs at a time.
    4. What belongs to it is refused after its end (`TransactionEnded`), and reaches no other transaction that may be
       open by then.
    5. Who ends it in another way than by its block gets `TransactionMisused`. The end of the block then rolls back and
       raises as well, also where the error was caught inside.

    `native` is what the user writes with: a SQLAlchemy `AsyncConnection` by default, or the user's own session or
    connection where it was enlisted. `owned` is false for an enlisted one: Freehold never commits or rolls it back.
    """

    @property
    def native(self) -> Any:
        """The connection the user writes with."""

    @property
    def owned(self) -> bool:
        """Whether Freehold ends the transaction."""

    @property
    def life(self) -> Life:
        """Whether it is open, and how it ended. What belongs to a database transaction refuses after its end; see
        `life`.
        """


class Database(Protocol):
    """One service's database: opened once, shared by everything in the process that serves this service.

    An implementation keeps:

    1. The block of `begin` is one transaction: it commits when the block ends, and rolls back when the block raises or
       is cancelled. An exception that is not the engine's comes through as it is.
    2. No connection is lost, at whatever point a cancellation comes; after an error the connection is as good as new.
    3. Every wait has a limit, that for a connection or a lock too; a transaction that cannot begin raises `Unavailable`
       in time. When the answer to COMMIT is lost, `Unavailable` is raised and the outcome is unknown.
    4. Errors of the engine become `Unavailable` (try later), `ConcurrencyConflict` (try again) or `DatabaseError` (it
       will not mend), in texts that hold no values. Errors of others are left as they are.
    5. `upgrade` and `repair` are safe from several processes at once; a second `upgrade` has nothing to do. Of several
       services that come at once one owns the database; the others get `ConfigurationError` before anything is applied.
    6. `open`, `close`, `ping` and `probe` may be repeated, and what is closed may be opened again. A probe writes the
       same row each time, which nobody takes for work.
    7. `enlist` takes only what can carry a transaction, and otherwise says what can (`ConfigurationError`).
    8. Every finding of `run_checks` that is not ok says what to do.
    """

    @property
    def features(self) -> DatabaseFeatures:
        """What the engine guarantees."""

    async def open(self) -> None:
        """Connect, check that the version is served. Raises `Unavailable`, `ConfigurationError`. Idempotent."""

    async def close(self) -> None:
        """Release every connection. Idempotent."""

    async def ping(self, timeout_seconds: float) -> None:
        """Return when the database answers a query. Raises `Unavailable`, within the time limit."""

    async def probe(self, timeout_seconds: float) -> None:
        """Write a row of Freehold's own and commit it, within the time limit; the tables must have been made. The row
        is the same each time, so it may be done every few seconds.

        Raises what keeps a transaction from committing, with the reason: `Unavailable` (read-only, no space left,
        locked by somebody else), `DatabaseError` (a right or a table is missing).
        """

    def begin(self) -> AbstractAsyncContextManager[DatabaseTransaction]:
        """Open a transaction for the length of a block, whose end commits it.

        Entering raises `Unavailable` when no connection is to be had in time. An error of the engine is raised as what
        `translate_error` makes of it. What belongs to the transaction counts as ended once the block has begun to end.
        """

    def enlist(self, native: object) -> DatabaseTransaction:
        """Wrap a transaction of the user's own (SQLAlchemy `AsyncSession` or `AsyncConnection`, asyncpg connection,
        psycopg `AsyncConnection`). Raises `ConfigurationError` for anything else, and where no transaction is open and
        the driver would commit each statement by itself.
        """

    def translate_error(self, error: BaseException) -> FreeholdError | None:
        """Translate an exception of the driver: `Unavailable` (try later), `ConcurrencyConflict` (try again),
        `DatabaseError` (it will not mend), or None where it does not come from the database. The text holds no values.
        """

    async def upgrade(self, service: str | None = None) -> list[str]:
        """Apply the migrations that are missing, Freehold's own and the service's; returns their names. Safe from
        several processes at once.

        A `service` that is named owns the database from then on: of two that come at once, one does. Raises
        `ConfigurationError` where another one owns it, before anything is applied. Without a name nothing is said of
        whose it is, which is for what may share a database: receipts of several consumers.
        """

    async def owner(self) -> str | None:
        """The service that the database is marked with; None for none."""

    async def mark(self, db_tx: DatabaseTransaction, service: str, *, instead_of: str) -> None:
        """Make a service the owner instead of the one that is: the same one, under another name.

        Raises `ConfigurationError` where `instead_of` is not the owner.
        """

    async def pending(self) -> list[str]:
        """Names of the migrations that `upgrade` would apply."""

    async def defects(self, *, closer: bool = True) -> list[Defect]:
        """How the tables, and all else that applied migrations have made, differ from what those made. Reads only.

        Without `closer` it looks into the engine's catalogue and no further, for the start of a service: it does not
        count the rows that are against a missing constraint, nor plan what a view says.
        What was made by hand beside it is left alone. What a service's migrations made counts as far as it can be known
        from them for sure. Raises `DatabaseError` where the record of what was applied is lost.
        """

    async def repair(self) -> list[str]:
        """Make good those `defects` by which nothing is lost; returns their subjects. Safe from several processes at
        once. What held data is never made again empty. One that cannot be made good stays a defect, and keeps no other.
        """

    async def relations(self, names: Sequence[str]) -> dict[str, str]:
        """What bears each of these names (`table`, or `schema.table`): `table`, `view`, `materialised view` …; names
        that nothing bears are left out.
        """

    def script(self, service: str, port: str | None = None) -> str:
        """What `upgrade` does in an empty database for this service, as a script for the engine's own tool; of a `port`
        that is named, its tables and functions alone. Needs no connection.

        Raises `ConfigurationError` where the engine has no SQL, `NotFound` where the port has no tables.
        """

    async def grants(self, role: str, schema: str | None = None) -> list[str]:
        """Statements for the owner of the tables that let a role do what run time does, and make no tables; those that
        later upgrades make are included. `schema` is that of the tables where none is given.

        Raises `ConfigurationError` where the engine knows no roles, and for a name that no role can have.
        """

    async def run_checks(self) -> list[CheckResult]:
        """Check server version and settings that a guarantee needs; for `doctor`."""


def check_owner(features: DatabaseFeatures, owner: str | None, service: str) -> None:
    """Refuse a database that is marked with another service. Raises `ConfigurationError`."""
    if owner not in {None, service}:
        raise ConfigurationError(
            f"the database is marked as that of '{owner}', and this is '{service}'",
            hint=f"{features.apart}; if '{owner}' is called '{service}' now: freehold db mark {service}"
            f" --instead-of {owner}",
        )


@runtime_checkable
class CommitWatching(Protocol):
    """A database that can tell of the commits of a user's own transactions."""

    def on_commit(self, native: object, call: Callable[[], None]) -> None:
        """Have something called at each commit of a session or connection of the user's; nothing where its library
        tells of none. One call for each of them is enough, however often this is asked for: the first stays.
        """
