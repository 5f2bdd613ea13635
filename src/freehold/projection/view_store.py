"""Materialized views: queries whose result is stored, and refreshed on a schedule or on demand. Pattern: imports the
foundation only.

For totals over everything, ranks or percentiles, a read model can be a query over the service's own tables. PostgreSQL
stores the result and refreshes it without blocking readers (`REFRESH … CONCURRENTLY`). On SQLite the same declaration
is an **emulation**: a table that is built again and swapped in one transaction, which holds the only write lock while
the query runs.
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
"""PostgreSQL stores its limits as milliseconds in 31 bits."""


@dataclass(frozen=True, slots=True)
class MaterializedView:
    """A view whose result is stored. `key` names the columns that identify its rows: no two rows have the same values.

    `refresh_seconds` is the time from one refresh to the next; None for refreshes on demand only. `timeout_seconds` is
    how long one refresh may take; the limits of business transactions do not apply to it. Raises `DeclarationError` for
    invalid names and times.
    """

    name: str
    query: str = field(repr=False)
    key: Sequence[str]
    refresh_seconds: float | None = None
    timeout_seconds: float = 300.0

    def __post_init__(self) -> None:
        """Refuse what a database would refuse later, or understand in another way."""
        if isinstance(self.key, str) or not self.key:
            raise DeclarationError(
                f"materialized view '{self.name}' needs the columns of its key",
                hint='MaterializedView(..., key=("day",))',
            )
        for name in (self.name, *self.key):
            if _IDENTIFIER.fullmatch(name) is None:
                raise DeclarationError(
                    f"'{name}' is not a valid name of a view or a column",
                    hint="lower-case letters, digits and '_', up to 55",
                )
        if not self.query.strip():
            raise DeclarationError(f"materialized view '{self.name}' has no query")
        for seconds in (self.timeout_seconds, *([] if self.refresh_seconds is None else [self.refresh_seconds])):
            if isinstance(seconds, bool) or not 0 < seconds <= _SECONDS_MAX:
                raise DeclarationError(
                    f"the times of materialized view '{self.name}' must be greater than 0",
                    hint=f"{_SECONDS_MAX:g} s at most",
                )

    @property
    def definition(self) -> str:
        """The query, as part of a statement."""
        return self.query.strip().rstrip(";")

    @property
    def digest(self) -> str:
        """The digest of the definition; if it changes, the view is built again rather than refreshed."""
        return hashlib.sha256("\x00".join([self.definition, *self.key]).encode()).hexdigest()[:32]

    def due_seconds(self, state: ViewState | None) -> float | None:
        """The time until its next refresh; 0 if it is due, None if only an operator refreshes it.

        A view that was never built, or was built from another definition, is due. After a failure the next attempt
        comes sooner than usual, and later with each further failure.
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
    """The state of a view. `attempted_seconds` is the time since the last attempt when this was read.

    Before the view was built for the first time, `digest` is empty, and `refreshed_at` and `duration_seconds` are None.
    `error` is the error of the last attempt, without values; empty after a success.
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
    """The store of a service's materialized views and their states, in its own database.

    An implementation keeps:

    1. Readers see the old rows until all new ones are there, and never wait. A view changes by a refresh only, and
       every instance reads the same rows and the same state.
    2. A view whose definition has changed is built again in place of the old one, with its new columns.
    3. A refresh that fails leaves the old rows. Its error is stored in the state, without values, until a refresh
       succeeds; also for a view that was never built.
    4. Of several concurrent refreshes of one view at least one succeeds. Each of the others succeeds or gets
       `ConcurrencyConflict`, which is no failure of the view.
    5. A name that belongs to something else raises `ConfigurationError`; neither a refresh nor a drop changes that
       thing.
    6. A refresh is bounded by `timeout_seconds` (`OperationTimeout`); the limits of business transactions do not apply.
    7. A drop deletes the view and its state. Every view that was attempted and not dropped has a state.
    """

    async def refresh(self, view: MaterializedView) -> ViewState:
        """Store the present result of the view's query; build the view if it is missing or its definition has changed.

        An error is stored in the view's state, and raised: `OperationTimeout` after `timeout_seconds`,
        `ConfigurationError` if the name belongs to something else, `DatabaseError` if the database refuses the query or
        two rows have one key. `ConcurrencyConflict`, while another process refreshes it, is raised and not stored.
        """

    async def states(self) -> Sequence[ViewState]:
        """The states of all views, by name."""

    async def drop(self, name: str) -> bool:
        """Drop a view with its state. False if there is none. Raises `ConcurrencyConflict` as `refresh`."""


VIEWS: Final[Port[ViewStore]] = Port(
    "views", "materialized views", ViewStore, "freehold.conformance.views:ViewStoreConformance"
)
