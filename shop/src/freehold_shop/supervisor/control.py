"""The protocol of a supervisor's control socket: a JSON line each for request and response, on a 0600 Unix socket.

`ask` is for clients; the supervisor's side is in `control_server`. Imports msgspec and the state.
"""

from __future__ import annotations

import asyncio
from typing import Literal

import msgspec

from freehold import ConfigurationError
from freehold_shop.supervisor.errors import ControlRefused, ShopNotRunning
from freehold_shop.supervisor.state import ShopState

__all__ = ["LINE_BYTES_MAX", "ControlResponse", "FaultState", "Request", "ask"]

LINE_BYTES_MAX = 65_536
RESPONSE_SECONDS = 60.0


class FaultState(msgspec.Struct, frozen=True):
    """The state of a fault. `on` is always false for one that happens once, such as a crash."""

    name: str
    on: bool
    description: str
    lasting: bool = True
    seconds_left: float | None = None
    """The time until it ends by itself; None where it stays until it is healed."""
    ending: bool = False
    """It is being healed, which takes a while."""
    reason: str = ""
    """Why it could not be healed the last time."""


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A request to the supervisor."""

    do: Literal["faults", "break", "heal"]
    fault: str | None = None
    seconds: float | None = None


class ControlResponse(msgspec.Struct, frozen=True):
    """The supervisor's response. An empty `error` means done; `usage`: the request itself is wrong."""

    faults: list[FaultState] = []
    error: str = ""
    hint: str = ""
    usage: bool = False


async def ask(state: ShopState, request: Request, *, timeout_seconds: float = RESPONSE_SECONDS) -> ControlResponse:
    """Send a request and return the response.

    Raises `ShopNotRunning` where no response comes in time, `ControlRefused` where it cannot be done now,
    `ConfigurationError` where it is wrong.
    """
    try:
        async with asyncio.timeout(timeout_seconds):
            reader, writer = await asyncio.open_unix_connection(state.control, limit=LINE_BYTES_MAX)
            try:
                writer.write(msgspec.json.encode(request) + b"\n")
                await writer.drain()
                line = await reader.readline()
            finally:
                writer.close()
        response = msgspec.json.decode(line, type=ControlResponse)
    except (OSError, TimeoutError, ValueError) as error:
        raise ShopNotRunning("the supervisor does not respond", hint="start the shop again: shop run") from error
    if response.error and response.usage:
        raise ConfigurationError(response.error, hint=response.hint)
    if response.error:
        raise ControlRefused(response.error, hint=response.hint)
    return response
