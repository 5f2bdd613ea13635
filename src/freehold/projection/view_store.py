"""Materialized views: a query whose result is kept, and renewed on a schedule or on demand. Pattern: imports the
foundation only.

Where events would be too fine a grain (totals over everything, ranks, percentiles), a read model is a query over the
service's own tables. PostgreSQL keeps the result and renews it beside its readers (`REFRESH … CONCURRENTLY`). On SQLite
the same declaration is an **emulation**: a table that is built again and swapped in one transaction, which holds the
only write lock for as long as the query takes.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Protocol

from freehold.errors import DeclarationError
from freehold.ports import Port

__all__ = ["VIEWS", "MaterializedView", "ViewState", "ViewStore"]

_IDENTIFIER: Final = re.compile(r"[a-z_][a-z0-9_]{0,54}")
_FIRST_RETRY_SECONDS: Final = 5.0
_SECONDS_MAX: Final = 2_000_000.0
"""PostgreSQL keeps its limits as milliseconds in 31 bits."""


@dataclass(frozen=True, slots=True)
class MaterializedView:
    """A view that keeps its result. `key` names the columns that tell its rows apart: no two may be alike in them.

    `refresh_seconds` is the time from one refresh to the next, None for a view that is refreshed on demand alone.
    `timeout_seconds` is how long one refresh may take; the limits of business transactions do not hold for it. Raises
    `DeclarationError` for names that are no identifiers, and for times that cannot be meant.
    """

    name: str
    query: str = field(repr=False)
    key: Sequence[str]
    refresh_seconds: float | None = None
    timeout_seconds: float = 300.0

    def __post_init__(self) -> None:
        """Refuse what the databases would refuse later, or take in another meaning."""
        if isinstance(self.key, str) or not self.key:
            raise DeclarationError(
                f"materialized view '{self.name}' needs the columns of its key",
                hint='MaterializedView(..., key=("day",))',
            )
        for name in (self.name, *self.key):
            if _IDENTIFIER.fullmatch(name) is None:
                raise DeclarationError(
                    f"'{name}' is no name for a view or a column", hint="lower-case letters, digits and '_', up to 55"
                )
        if not self.query.strip():
            raise DeclarationError(f"materialized view '{self.name}' has no query")
        for seconds in (self.timeout_seconds, *([] if self.refresh_seconds is None else [self.refresh_seconds])):
            if isinstance(seconds, bool) or not 0 < seconds <= _SECONDS_MAX:
                raise DeclarationError(
                    f"the times of materialized view '{self.name}' must be greater than 0",
                    hint=f"and {_SECONDS_MAX:g} s at most",
                )

    @property
    def definition(self) -> str:
        """The query as it goes into a statement."""
        return self.query.strip().rstrip(";")

    @property
    def digest(self) -> str:
        """What changes when the view has to be built again rather than refreshed."""
        return hashlib.sha256("\x00".join([self.definition, *self.key]).encode()).hexdigest()[:32]

    def due_seconds(self, state: ViewState | None) -> float | None:
        """The time until its next refresh, 0 where it is due, None where nobody but an operator asks for one.

        A view that was never built, or is declared in other words than it was built from, is due. After a failure the
        next attempt comes sooner than usual, later with each one that fails.
        """
        if state is None or (state.digest != self.digest and state.failures == 0):
            return 0.0
        if state.failures:
            usual = 3600.0 if self.refresh_seconds is None else self.refresh_seconds
            wanted = min(usual, _FIRST_RETRY_SECONDS * 2.0 ** min(state.failures - 1, 20))
        elif self.refresh_seconds is None:
            return None
        else:
            wanted = self.refresh_seconds
        return max(0.0, wanted - state.attempted_seconds)


@dataclass(frozen=True, slots=True)
class ViewState:
    """How a view stands. `attempted_seconds` is the time since the last attempt when this was read.

    `digest` is empty, and `refreshed_at` and `duration_seconds` are None, before it was built for the first time.
    `error` says how the last attempt failed, in words that hold no values; empty after one that went well.
    """

    name: str
    digest: str
    refreshed_at: datetime | None
    duration_seconds: float | None
    attempted_seconds: float
    failures: int
    error: str
    emulated: bool


class ViewStore(Protocol):
    """The store of a service's materialized views and how they stand, in its own database.

    An implementation keeps:

    1. Readers see the old rows until all of the new ones are there, and wait for nothing. A view changes by a refresh
       only, and every instance reads the same rows and the same state.
    2. A view that was declared otherwise is built again in the place of the old one, with other columns where they
       differ.
    3. A refresh that fails leaves the old rows. Its error is kept in the state, without values, until one succeeds; it
       is kept also where the view was never built.
    4. Of several that refresh one view at once at least one succeeds. Each of the others succeeds or gets
       `ConcurrencyConflict`, which is no failure of the view.
    5. A name that belongs to something else raises `ConfigurationError`; nothing of it is lost, neither by a refresh
       nor by a drop.
    6. A refresh is bounded by `timeout_seconds` (`OperationTimeout`); the limits of business transactions do not hold
       for it.
    7. A drop deletes the view and its state. The state of every view that was ever attempted and not dropped is listed.
    """

    async def refresh(self, view: MaterializedView) -> ViewState:
        """Have the view hold what its query gives now; build it where it is missing or was declared otherwise.

        What goes wrong is kept in the view's state, and raised: `ConcurrencyConflict` where somebody else is refreshing
        it (which is not kept), `OperationTimeout` after `timeout_seconds`, `ConfigurationError` where the name belongs
        to something else, `DatabaseError` where the database refuses the query or two rows have one key.
        """

    async def states(self) -> Sequence[ViewState]:
        """All views that were ever attempted, by name."""

    async def drop(self, name: str) -> bool:
        """Drop a view with its state. False where there is none. Raises `ConcurrencyConflict` as `refresh` does."""


VIEWS: Final[Port[ViewStore]] = Port(
    "views", "materialized views", ViewStore, "freehold.conformance.views:ViewStoreConformance"
)
