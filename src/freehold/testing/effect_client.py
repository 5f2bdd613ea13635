"""What a service calls in a test instead of a payment provider or a mail server: the client of an `EffectLedger`.
Testing: imports the standard library only.

One connection for each call: a process that is killed leaves nothing half said. The request and the reply are one line
of JSON each.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["EffectClient", "EffectFailed", "EffectUnknown"]

_LINE_MAX: Final = 1 << 20


class EffectFailed(Exception):
    """The ledger answered with an error: the effect did not take place. The text says why."""


class EffectUnknown(ConnectionError):
    """No answer came: it is not known whether the effect took place. Ask again with the same key."""


@dataclass(frozen=True, slots=True)
class EffectClient:
    """Requests effects of the ledger at `address` (`EffectLedger.address`), from any process, thread or event loop.

    timeout_seconds  how long a call waits for its answer.
    """

    address: str
    timeout_seconds: float = 5.0

    async def perform(
        self, name: str, key: str, body: Mapping[str, Any] | None = None, *, compensates: str = ""
    ) -> bool:
        """Request the effect `name`; True: it is done, False: it was declined.

        A repeated request with the same `key` has no second effect and the same answer; without a key (`""`) each
        request is an effect. `compensates` is the key of an earlier request whose effect this one reverses; if that
        request has not arrived yet, it is declined when it does.

        Raises `EffectFailed` where nothing was done, `EffectUnknown` where no answer came. If the call is cancelled, it
        is not known whether the effect took place.
        """
        try:
            async with asyncio.timeout(self.timeout_seconds):
                reader, writer = await asyncio.open_connection(*self._target(), limit=_LINE_MAX)
                try:
                    writer.write(_request(name, key, body, compensates))
                    await writer.drain()
                    line = await reader.readline()
                finally:
                    writer.close()
        except (OSError, TimeoutError) as error:
            raise EffectUnknown(f"'{name}' was not answered") from error
        return _answer(name, line)

    def perform_sync(
        self, name: str, key: str, body: Mapping[str, Any] | None = None, *, compensates: str = ""
    ) -> bool:
        """The same for code that is not async. Blocks its thread."""
        try:
            with socket.create_connection(self._target(), self.timeout_seconds) as connection:
                connection.sendall(_request(name, key, body, compensates))
                with connection.makefile("rb") as answers:
                    line = answers.readline(_LINE_MAX)
        except (OSError, TimeoutError) as error:
            raise EffectUnknown(f"'{name}' was not answered") from error
        return _answer(name, line)

    def _target(self) -> tuple[str, int]:
        host, _, port = self.address.rpartition(":")
        return host, int(port)


def _request(name: str, key: str, body: Mapping[str, Any] | None, compensates: str) -> bytes:
    request = {"name": name, "key": key, "body": dict(body or {}), "compensates": compensates}
    return json.dumps(request).encode() + b"\n"


def _answer(name: str, line: bytes) -> bool:
    if not line.endswith(b"\n"):
        raise EffectUnknown(f"'{name}' was not answered: the connection was closed")
    answer = json.loads(line)
    if "error" in answer:
        raise EffectFailed(f"'{name}': {answer['error']}")
    return bool(answer["done"])
