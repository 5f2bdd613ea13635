"""The port to the services that an answer is composed from: one request, one reply. Imports the foundation only.

`freehold.composition.http.HttpFetch` is the adapter for HTTP; a test, or another transport, gives its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from freehold.errors import FreeholdError, Unavailable

__all__ = ["CallFailed", "Fetch", "InvalidRequest", "Reason", "Reply", "Request", "UnusableReply"]


class Reason(StrEnum):
    """Why a part is missing. `DEPENDS_ON` is followed by the part that it needed and that is missing itself.

    `REFUSED` says that the service is well: it does not take what was asked, or its answer is none to be used.
    """

    TIMEOUT = "timeout"
    UNAVAILABLE = "unavailable"
    CIRCUIT_OPEN = "circuit-open"
    REFUSED = "refused"
    BUDGET = "budget"
    DEPENDS_ON = "depends-on"


@dataclass(frozen=True, slots=True)
class Request:
    """A reading request to a service. It may be sent a second time, so it must change nothing, whatever its method.

    `limit_seconds` is how long the caller waits; it is also among the headers (`freehold-budget-ms`). A transport need
    not keep the time: it is cancelled when the time is over.
    """

    service: str
    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    limit_seconds: float = 1.0


@dataclass(frozen=True, slots=True)
class Reply:
    """What a service answered, whatever the status. Names of headers are in lower case."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


class Fetch(Protocol):
    """Sends a request and returns the reply."""

    async def __call__(self, request: Request) -> Reply:
        """Return the reply, whatever its status.

        Raises `freehold.errors.Unavailable` where none came; `InvalidRequest` where the request cannot be sent, and
        `UnusableReply` where the reply cannot be taken, which both say nothing against the service. Cancelled, it gives
        the connection up, so that the service can notice.
        """


class InvalidRequest(FreeholdError):
    """A request cannot be sent as it is: its path or its headers hold what none may hold. Nobody was asked."""


class UnusableReply(FreeholdError):
    """A service answered, with something that cannot be taken: it is too large."""


class CallFailed(Unavailable):
    """A service did not give what was asked of it: `service`, the `reason`, and the `status` it answered, if it did."""

    def __init__(self, service: str, reason: Reason, detail: str = "", *, status: int | None = None) -> None:
        text = f"the service '{service}' did not answer: {reason.value}" + (f", {detail}" if detail else "")
        super().__init__(text, hint="the answer is composed without it; try again later")
        self.service = service
        self.reason = reason
        self.status = status
