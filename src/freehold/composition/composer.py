"""Composes responses: reads each part as soon as its inputs are there, all within one budget, and lists missing parts.

Imports the foundation and the modules of composition.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from freehold.clock import Clock, SystemClock
from freehold.composition.breaker import BreakerPolicy
from freehold.composition.budget import Budget, within
from freehold.composition.client import RETRY, BreakerView, Client
from freehold.composition.context import PartContext, SharedContext
from freehold.composition.declaration import Composition, Part, PartInputs
from freehold.composition.fetch import CallFailed, Fetch, Reason
from freehold.errors import NotFound, Unavailable
from freehold.outages import Outages, current_outages
from freehold.policy import Retry
from freehold.tasks import TaskGroup

__all__ = ["Composed", "Composer", "CompositionFailed", "MergeHeaders", "Missing"]

G = TypeVar("G")
T = TypeVar("T")
MergeHeaders = Callable[[Sequence[Mapping[str, str]]], Mapping[str, str]]
"""Makes the headers of the response from those of the replies."""
_BREAKER: Final = BreakerPolicy()
_OUTAGES: Final = frozenset({Reason.TIMEOUT, Reason.UNAVAILABLE, Reason.CIRCUIT_OPEN})


@dataclass(frozen=True, slots=True)
class Missing:
    """A part that could not be read, and why: a `Reason`, or `depends-on` and the part that it needs."""

    part: str
    service: str
    reason: str


class CompositionFailed(Unavailable):
    """A required part is missing, so there is no response. `missing` names the part, its service and the reason;
    `status` is that of the service's reply, if there was one.

    If the reason is `refused`, the service works, and the same request would be refused again.
    """

    def __init__(self, composition: str, missing: Missing, status: int | None = None) -> None:
        super().__init__(
            f"'{composition}' cannot be composed: '{missing.part}' of '{missing.service}' is missing, {missing.reason}",
            hint="check the request" if missing.reason == Reason.REFUSED.value else "try again later",
        )
        self.missing = missing
        self.status = status


class Composed(Generic[G]):
    """A composed response. `missing` and `stale` are in the order of declaration; `headers` are merged from the
    replies.
    """

    def __init__(
        self,
        values: Mapping[Part[Any], Any],
        missing: tuple[Missing, ...],
        stale: tuple[str, ...],
        headers: Mapping[str, str],
    ) -> None:
        self.missing = missing
        self.stale = stale
        self.headers = headers
        self._values = values

    def __getitem__(self, part: Part[T]) -> T | None:
        """The value of a part; None if it does not exist, or is missing."""
        value: T | None = self._values.get(part)
        return value


class Composer:
    """Composes responses from services that `fetch` calls. One for a process and event loop: it has their breakers.

    Every service has a circuit breaker with the policy `breaker`; a call that failed quickly is retried once at most,
    by `retry`. `merge_headers` makes the headers of the response from those of all replies. `close` cancels background
    fetches.
    """

    def __init__(
        self,
        fetch: Fetch,
        *,
        breaker: BreakerPolicy = _BREAKER,
        retry: Retry = RETRY,
        merge_headers: MergeHeaders | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.clock: Clock = clock or SystemClock()
        self._client = Client(fetch, self.clock, breaker, retry)
        self._shared = SharedContext(self._client, self.clock)
        self._merge_headers = merge_headers
        self._outages = Outages("compositions", self.clock)

    async def compose(
        self,
        composition: Composition[G],
        given: G,
        *,
        headers: Mapping[str, str] | None = None,
        budget: Budget | None = None,
    ) -> Composed[G]:
        """Compose a response; `headers` (names in lower case) are sent with every call.

        The time limit is that of the composition, or `budget` if that is less. No call is in progress any more when
        this returns, raises or is cancelled.

        Raises `CompositionFailed` if a required part is missing, `NotFound` if a part with `must_exist` does not exist.
        Both cancel the other parts at once.
        """
        own = Budget(composition.budget_seconds, self.clock)
        shorter = budget if budget is not None and budget.left_seconds() < own.left_seconds() else own
        outages = current_outages() or self._outages
        run = _Run(composition, given, self._shared.begin(shorter, headers), outages)
        await run.all_parts()
        return run.composed(self._merge_headers)

    def breakers(self) -> Mapping[str, BreakerView]:
        """The breakers of the services that were called so far."""
        return self._client.breakers()

    async def close(self) -> None:
        """Cancel fetches that run in the background."""
        await self._shared.close()


class _Run(Generic[G]):
    """The composition of one response."""

    def __init__(self, composition: Composition[G], given: G, context: PartContext, outages: Outages) -> None:
        self._composition = composition
        self._given = given
        self._context = context
        self._outages = outages
        self._ended = {part: asyncio.Event() for part in composition.parts}
        self._values: dict[Part[Any], Any] = {}
        self._missing: dict[Part[Any], Missing] = {}
        self._stale: set[str] = set()

    async def all_parts(self) -> None:
        try:
            async with TaskGroup() as group:
                for part in self._composition.parts:
                    group.create_task(self._part(part), name=f"{self._composition.name}.{part.name}")
        except BaseExceptionGroup as errors:
            # The first failure cancelled the others: it is the reason, and the group adds nothing.
            raise errors.exceptions[0] from errors.exceptions[0].__cause__

    def composed(self, merge_headers: MergeHeaders | None) -> Composed[G]:
        parts = self._composition.parts
        missing = tuple(self._missing[part] for part in parts if part in self._missing)
        stale = tuple(part.name for part in parts if part.name in self._stale)
        headers = merge_headers(self._context.replies) if merge_headers is not None else {}
        return Composed(self._values, missing, stale, headers)

    async def _part(self, part: Part[Any]) -> None:
        for needed in part.after:
            await self._ended[needed].wait()
        lacking = next((needed for needed in part.after if needed in self._missing), None)
        if lacking is not None:
            self._miss(part, f"{Reason.DEPENDS_ON.value} {lacking.name}")
        elif any(self._values[needed] is None for needed in part.after):
            self._have(part, None)
        else:
            await self._read(part)
        self._ended[part].set()

    async def _read(self, part: Part[Any]) -> None:
        key = part.by(PartInputs(self._given, part, self._values))
        context = self._context.of_part()
        try:
            value = await within(context.shared.clock, context.budget.left_seconds(), part.source.read(context, key))
        except CallFailed as error:
            self._miss(part, error.reason.value, error)
        except TimeoutError as error:
            self._miss(part, Reason.BUDGET.value, error)
        else:
            if context.stale:
                self._stale.add(part.name)
            self._have(part, value)

    def _have(self, part: Part[Any], value: object) -> None:
        if value is None and part.must_exist:
            raise NotFound(f"'{self._composition.name}' does not exist: its part '{part.name}' does not")
        self._values[part] = value

    def _miss(self, part: Part[Any], reason: str, cause: Exception | None = None) -> None:
        self._missing[part] = Missing(part.name, part.service, reason)
        if part.required:
            status = cause.status if isinstance(cause, CallFailed) else None
            raise CompositionFailed(self._composition.name, self._missing[part], status) from cause
        if isinstance(cause, CallFailed) and cause.reason in _OUTAGES:
            self._outages.left_out(cause, f"service '{part.service}'")
