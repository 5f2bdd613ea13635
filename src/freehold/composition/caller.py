"""Calls to services: within a budget, guarded by a breaker for each service, tried again at most once.

Imports the foundation and the modules of composition.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from freehold.clock import Clock
from freehold.composition.breaker import (
    BreakerPhase,
    BreakerPolicy,
    BreakerState,
    CallFinished,
    CallOutcome,
    CallRejected,
    CallRequested,
)
from freehold.composition.budget import BUDGET_HEADER, Budget, within
from freehold.composition.fetch import CallFailed, Fetch, InvalidRequest, Reason, Reply, Request, UnusableReply
from freehold.errors import DeclarationError, Unavailable
from freehold.policy import Retry, RetryAfter

__all__ = ["RETRY", "BreakerView", "Caller"]

RETRY: Final = Retry(attempts=2, delay_seconds=0.05, only=(CallFailed,))
"""Once more after 25 to 50 ms."""
_TOO_MANY_REQUESTS: Final = 429
_GATEWAY_TIMEOUT: Final = 504
_SECONDS_MIN: Final = 0.001


@dataclass(frozen=True, slots=True)
class BreakerView:
    """A service's breaker as people see it: calls and failures in the window, and when a probe is let through."""

    phase: BreakerPhase
    calls: int
    failures: int
    retry_after_seconds: float


class Caller:
    """Calls services through `fetch`; remembers of each how it does. One for a process and event loop.

    What a caller does wrong counts against no service: a request that cannot be made, an answer below 500 but for 429,
    an answer too large to be taken, an error of one's own code.

    Raises `DeclarationError` for a retry of more than two attempts: within one budget, more of them only load a service
    that is in trouble.
    """

    def __init__(self, fetch: Fetch, clock: Clock, policy: BreakerPolicy, retry: Retry) -> None:
        if retry.attempts > 2:
            raise DeclarationError("a call is tried twice at most", hint="use Retry(attempts=2, …) or attempts=1")
        self._fetch = fetch
        self._clock = clock
        self._policy = policy
        self._retry = retry
        self._states: dict[str, BreakerState] = {}

    async def call(self, request: Request, budget: Budget) -> Reply:
        """The reply, with a status below 500. Takes no longer than the request's limit and what is left of the budget.

        Raises `CallFailed` for everything else. Only an answer that came quickly and says that the service cannot, or a
        connection that failed, is tried again, and not where the service says when to come back.
        """
        attempt = 0
        while True:
            attempt += 1
            try:
                return await self._attempt(request, budget)
            except _MayPass as error:
                decision = self._retry.decide(attempt, error)
                if not isinstance(decision, RetryAfter) or decision.delay_seconds >= budget.left_seconds():
                    raise
                if self._state(request.service).phase is not BreakerPhase.CLOSED:
                    raise
            await self._clock.sleep(decision.delay_seconds)

    def breakers(self) -> Mapping[str, BreakerView]:
        """The breakers of the services that were called so far."""
        now = self._clock.monotonic()
        return {
            service: BreakerView(
                state.phase, state.counted, state.failed, max(0.0, state.until - now) if state.until else 0.0
            )
            for service, state in sorted(self._states.items())
        }

    async def _attempt(self, request: Request, budget: Budget) -> Reply:
        service, left_seconds = request.service, budget.left_seconds()
        share_seconds = min(request.limit_seconds, left_seconds)
        if share_seconds < _SECONDS_MIN:
            raise CallFailed(service, Reason.BUDGET, "no time left")
        permit = self._admit(service)
        sent = replace(
            request,
            limit_seconds=share_seconds,
            headers={**request.headers, BUDGET_HEADER: str(int(share_seconds * 1000))},
        )
        # What ends otherwise than below says nothing about the service: its outcome is nobody's.
        begun, outcome = self._clock.monotonic(), CallOutcome.ABANDONED
        try:
            reply = await within(self._clock, share_seconds, self._fetched(sent))
            outcome = self._outcome(reply, request, begun)
        except TimeoutError as error:
            outcome = self._given_up(request, begun)
            reason = Reason.TIMEOUT if request.limit_seconds <= left_seconds else Reason.BUDGET
            raise CallFailed(service, reason, "no answer in time") from error
        except asyncio.CancelledError:
            outcome = self._given_up(request, begun)
            raise
        except Unavailable as error:
            outcome = CallOutcome.FAILED
            raise _MayPass(service, Reason.UNAVAILABLE, "it cannot be reached") from error
        except InvalidRequest as error:
            raise CallFailed(service, Reason.REFUSED, "it cannot be asked that") from error
        except UnusableReply as error:
            outcome = CallOutcome.SUCCEEDED
            raise CallFailed(service, Reason.UNAVAILABLE, "its answer cannot be taken") from error
        finally:
            self._report(service, permit, outcome)
        return _usable(service, reply)

    async def _fetched(self, request: Request) -> Reply:
        return await self._fetch(request)

    def _outcome(self, reply: Reply, request: Request, begun: float) -> CallOutcome:
        """A service that gave up because of the budget passed on to it has not failed: how long it took decides."""
        if reply.status == _GATEWAY_TIMEOUT:
            return self._given_up(request, begun)
        failed = reply.status >= 500 or reply.status == _TOO_MANY_REQUESTS
        return CallOutcome.FAILED if failed else CallOutcome.SUCCEEDED

    def _given_up(self, request: Request, begun: float) -> CallOutcome:
        """A failure of the service where it had enough time."""
        # A timer may ring a moment early.
        waited_seconds = self._clock.monotonic() - begun + _SECONDS_MIN
        slow = waited_seconds >= min(self._policy.slow_seconds, request.limit_seconds)
        return CallOutcome.FAILED if slow else CallOutcome.ABANDONED

    def _state(self, service: str) -> BreakerState:
        return self._states.get(service) or BreakerState()

    def _admit(self, service: str) -> int:
        state, answer = self._policy.decide(self._state(service), CallRequested(), self._clock.monotonic())
        self._states[service] = state
        if answer is None or isinstance(answer, CallRejected):
            raise CallFailed(service, Reason.CIRCUIT_OPEN, "it failed too often just now")
        return answer.permit

    def _report(self, service: str, permit: int, outcome: CallOutcome) -> None:
        event = CallFinished(permit, outcome)
        self._states[service], _ = self._policy.decide(self._state(service), event, self._clock.monotonic())


class _MayPass(CallFailed):
    """A failure that the same call may not meet a moment later."""


def _usable(service: str, reply: Reply) -> Reply:
    if reply.status == _GATEWAY_TIMEOUT:
        raise CallFailed(service, Reason.TIMEOUT, "it gave up", status=reply.status)
    if reply.status < 500 and reply.status != _TOO_MANY_REQUESTS:
        return reply
    kind = CallFailed if "retry-after" in reply.headers or reply.status == _TOO_MANY_REQUESTS else _MayPass
    raise kind(service, Reason.UNAVAILABLE, f"it answered {reply.status}", status=reply.status)
