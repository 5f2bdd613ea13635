"""The control socket of a supervisor: one JSON line asks, one JSON line answers, over a Unix socket of mode 0600.

`ask` is for clients; the supervisor's side is in `tower`. Imports msgspec and the state.
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
    """A fault as people see it. `on` is always false for one that is over in a moment, such as a crash."""

    name: str
    on: bool
    description: str
    lasting: bool = True
    seconds_left: float | None = None
    """Until it heals by itself; None where it stays until somebody heals it."""
    ending: bool = False
    """It is being healed, and that takes its time."""
    reason: str = ""
    """Why it could not be healed the last time."""


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is asked of the supervisor."""

    do: Literal["faults", "break", "heal"]
    fault: str | None = None
    seconds: float | None = None


class Answer(msgspec.Struct, frozen=True):
    """`error` empty means done. `usage` says that the request was wrong, rather than impossible just now."""

    faults: list[FaultState] = []
    error: str = ""
    hint: str = ""
    usage: bool = False


async def ask(state: ShopState, request: Request, *, timeout_seconds: float = ANSWER_SECONDS) -> Answer:
    """Send a request. Raises `ShopNotRunning` where nobody answers in time, `ControlRefused` where it cannot be done
    now, `ConfigurationError` where it is wrong.
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
