"""How the calls of a client reach a database or a broker in memory. Adapter: imports the standard library.

By default they reach it at once. A simulation puts another network between them, which delays calls, loses them, or
loses their answers (`freehold.testing.simulation`).
"""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

__all__ = ["BEGIN", "COMMIT", "DIRECT", "PUBLISH", "READ", "SAVE", "Network"]

BEGIN: Final = "begin"
READ: Final = "read"
COMMIT: Final = "commit"
PUBLISH: Final = "publish"
SAVE: Final = "save"
"""The position of a group, or who owns a partition."""


class Network(Protocol):
    """Between one client and one server."""

    async def send(self, request: str) -> None:
        """Before the server does what is asked. Raises what the client sees where the request does not arrive."""

    async def answer(self, request: str) -> None:
        """After the server did it. Raises what the client sees where the answer does not arrive."""


class _Direct:
    """Loses nothing. Other tasks get a turn where a call of a server would wait: a loop that polls must not block."""

    async def send(self, request: str) -> None:
        if request in {BEGIN, READ}:
            await asyncio.sleep(0)  # a turn for other tasks

    async def answer(self, request: str) -> None:
        if request == PUBLISH:
            await asyncio.sleep(0)  # a turn for other tasks


DIRECT: Final[Network] = _Direct()
