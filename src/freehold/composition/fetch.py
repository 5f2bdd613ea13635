"""The port to the services that a response is composed from: one request, one reply. Imports the foundation only.

`freehold.composition.http.HttpFetch` is the adapter for HTTP; tests and other transports have their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from freehold.errors import FreeholdError, Unavailable

__all__ = ["CallFailed", "Fetch", "InvalidRequest", "Reason", "Reply", "Request", "UnusableReply"]


class Reason(StrEnum):
    """Why a part is missing. `DEPENDS_ON` is followed by the name of a part that it needs and that is missing itself.

    `REFUSED`: the service works, but refused the request, or its reply cannot be decoded.
    """

    TIMEOUT = "timeout"
    UNAVAILABLE = "unavailable"
    CIRCUIT_OPEN = "circuit-open"
    REFUSED = "refused"
    BUDGET = "budget"
    DEPENDS_ON = "depends-on"


@dataclass(frozen=True, slots=True)
class Request:
    """A request to read from a service. It may be sent twice, so it must change nothing, whatever its method.

    `limit_seconds` is how long the client waits; it is also in the header `freehold-budget-ms`. The transport needs no
    timer: it is cancelled at the limit.
    """

    service: str
    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    limit_seconds: float = 1.0


@dataclass(frozen=True, slots=True)
class Reply:
    """The reply of a service, with any status. Names of headers are in lower case."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


class Fetch(Protocol):
    """Sends a request and returns the reply."""

    async def __call__(self, request: Request) -> Reply:
        """Return the reply, with any status.

        Raises `freehold.errors.Unavailable` if there is no reply; `InvalidRequest` if the request cannot be sent, and
        `UnusableReply` if the reply is too large, which are not failures of the service. A cancellation closes the
        connection, so that the service can stop its work.
        """


class InvalidRequest(FreeholdError):
    """A request cannot be sent: its path or a header contains forbidden characters. No service was called."""


class UnusableReply(FreeholdError):
    """The reply of a service is too large."""


class CallFailed(Unavailable):
    """A call to a service failed: `service`, the `reason`, and the `status` of its reply, if there was one."""

    def __init__(self, service: str, reason: Reason, detail: str = "", *, status: int | None = None) -> None:
        text = f"the service '{service}' did not answer: {reason.value}" + (f", {detail}" if detail else "")
        super().__init__(text, hint="the response is composed without it; try again later")
        self.service = service
        self.reason = reason
        self.status = status
