"""The protocol of a supervisor's control socket: a JSON line each for request and answer, on a 0600 Unix socket.

`ask` is for clients; the supervisor's side is in `control_server`. Imports msgspec and the state.
"""

from __future__ import annotations

import asyncio
from typing import Literal

import msgspec

from freehold import ConfigurationError
from freehold_shop.supervisor.errors import ControlRefused, ShopNotRunning
from freehold_shop.supervisor.state import ShopState

__all__ = ["LINE_BYTES_MAX", "Answer", "FaultState", "Request", "ask"]

LINE_BYTES_MAX = 65_536
ANSWER_SECONDS = 60.0


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


class Answer(msgspec.Struct, frozen=True):
    """The supervisor's answer. An empty `error` means done; `usage`: the request is wrong, not only impossible now."""

    faults: list[FaultState] = []
    error: str = ""
    hint: str = ""
    usage: bool = False


async def ask(state: ShopState, request: Request, *, timeout_seconds: float = ANSWER_SECONDS) -> Answer:
    """Send a request and return the answer.

    Raises `ShopNotRunning` where no answer comes in time, `ControlRefused` where it cannot be done now,
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
        answer = msgspec.json.decode(line, type=Answer)
    except (OSError, TimeoutError, ValueError) as error:
        raise ShopNotRunning("the supervisor does not answer", hint="start the shop again: shop run") from error
    if answer.error and answer.usage:
        raise ConfigurationError(answer.error, hint=answer.hint)
    if answer.error:
        raise ControlRefused(answer.error, hint=answer.hint)
    return answer
