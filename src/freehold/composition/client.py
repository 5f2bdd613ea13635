"""The client that calls services: within a budget, with a circuit breaker for each service, and at most one retry.

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

__all__ = ["RETRY", "BreakerView", "Client"]

RETRY: Final = Retry(attempts=2, delay_seconds=0.05, only=(CallFailed,))
"""One retry after 25 to 50 ms."""
_TOO_MANY_REQUESTS: Final = 429
_GATEWAY_TIMEOUT: Final = 504
_SECONDS_MIN: Final = 0.001


@dataclass(frozen=True, slots=True)
class BreakerView:
    """The state of a service's breaker: calls and failures in the window, and when the next probe is permitted."""

    phase: BreakerPhase
    calls: int
    failures: int
    retry_after_seconds: float


class Client:
    """Calls services through `fetch`, and has a breaker for each of them. One for a process and event loop.

    Errors of the client are not counted as failures of a service: a request that cannot be sent, a status below 500
    except 429, a response that is too large, an error of the client's own code.

    Raises `DeclarationError` for a `retry` of more than two attempts: within one budget, more of them only add load to
    a failing service.
    """

    def __init__(self, fetch: Fetch, clock: Clock, policy: BreakerPolicy, retry: Retry) -> None:
        if retry.attempts > 2:
            raise DeclarationError("a call has two attempts at most", hint="use Retry(attempts=2, …) or attempts=1")
        self._fetch = fetch
        self._clock = clock
        self._policy = policy
        self._retry = retry
        self._states: dict[str, BreakerState] = {}

    async def call(self, request: Request, budget: Budget) -> Reply:
        """The reply, with a status below 500. Takes no longer than the request's limit and the rest of the budget.

        Raises `CallFailed` for everything else. A failed connection, and a status of 500 and more except 504, are
        retried if the reply has no `Retry-After`, the breaker is closed and the budget lasts.
        """
        attempt = 0
        while True:
            attempt += 1
            try:
                return await self._attempt(request, budget)
            except _Retryable as error:
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
        # An end that is not handled below says nothing about the service.
        begun, outcome = self._clock.monotonic(), CallOutcome.ABANDONED
        try:
            reply = await within(self._clock, share_seconds, self._fetched(sent))
            outcome = self._outcome(reply, request, begun)
        except TimeoutError as error:
            outcome = self._given_up(request, begun)
            reason = Reason.TIMEOUT if request.limit_seconds <= left_seconds else Reason.BUDGET
            raise CallFailed(service, reason, "no response in time") from error
        except asyncio.CancelledError:
            outcome = self._given_up(request, begun)
            raise
        except Unavailable as error:
            outcome = CallOutcome.FAILED
            raise _Retryable(service, Reason.UNAVAILABLE, "it cannot be reached") from error
        except InvalidRequest as error:
            raise CallFailed(service, Reason.REFUSED, "the request cannot be sent") from error
        except UnusableReply as error:
            outcome = CallOutcome.SUCCEEDED
            raise CallFailed(service, Reason.UNAVAILABLE, "its response is too large") from error
        finally:
            self._report(service, permit, outcome)
        return _usable(service, reply)

    async def _fetched(self, request: Request) -> Reply:
        return await self._fetch(request)

    def _outcome(self, reply: Reply, request: Request, begun: float) -> CallOutcome:
        """The outcome of a reply. A 504 may only mean that the request's budget was used up: its duration decides."""
        if reply.status == _GATEWAY_TIMEOUT:
            return self._given_up(request, begun)
        failed = reply.status >= 500 or reply.status == _TOO_MANY_REQUESTS
        return CallOutcome.FAILED if failed else CallOutcome.SUCCEEDED

    def _given_up(self, request: Request, begun: float) -> CallOutcome:
        """The outcome of a call without a reply: a failure of the service if it had enough time."""
        # A timer may fire a moment early.
        waited_seconds = self._clock.monotonic() - begun + _SECONDS_MIN
        slow = waited_seconds >= min(self._policy.slow_seconds, request.limit_seconds)
        return CallOutcome.FAILED if slow else CallOutcome.ABANDONED

    def _state(self, service: str) -> BreakerState:
        return self._states.get(service) or BreakerState()

    def _admit(self, service: str) -> int:
        state, answer = self._policy.decide(self._state(service), CallRequested(), self._clock.monotonic())
        self._states[service] = state
        if answer is None or isinstance(answer, CallRejected):
            raise CallFailed(service, Reason.CIRCUIT_OPEN, "it failed too often recently")
        return answer.permit

    def _report(self, service: str, permit: int, outcome: CallOutcome) -> None:
        event = CallFinished(permit, outcome)
        self._states[service], _ = self._policy.decide(self._state(service), event, self._clock.monotonic())


class _Retryable(CallFailed):
    """A failure after which the same call may succeed a moment later."""


def _usable(service: str, reply: Reply) -> Reply:
    if reply.status == _GATEWAY_TIMEOUT:
        raise CallFailed(service, Reason.TIMEOUT, "it used up its budget", status=reply.status)
    if reply.status < 500 and reply.status != _TOO_MANY_REQUESTS:
        return reply
    kind = CallFailed if "retry-after" in reply.headers or reply.status == _TOO_MANY_REQUESTS else _Retryable
    raise kind(service, Reason.UNAVAILABLE, f"its status was {reply.status}", status=reply.status)
