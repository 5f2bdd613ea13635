"""Publishes to JetStream with many confirmations in progress. Adapter: imports its package.

One subscription receives all confirmations; each call waits once for all of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from nats.aio.msg import Msg

from freehold.adapters.nats.connection import NatsConnection
from freehold.adapters.nats.errors import StreamGone, publish_error
from freehold.crash_points import crash_point
from freehold.errors import FreeholdError, OperationTimeout, Unavailable

__all__ = ["Publication", "Publisher"]

_UNCONFIRMED = "NATS did not confirm in time"
_AGAIN = "whether it was stored is not known; publish it again"


@dataclass(frozen=True, slots=True)
class Publication:
    """A message to store under a subject."""

    subject: str
    payload: bytes = field(repr=False)
    headers: Mapping[str, str] | None = None


class _Round:
    """The confirmations that one call waits for."""

    def __init__(self, size: int) -> None:
        self.results: list[Mapping[str, Any] | FreeholdError | None] = [None] * size
        self.missing = size
        self.done = asyncio.Event()

    def answer(self, index: int, result: Mapping[str, Any] | FreeholdError) -> None:
        if self.results[index] is None:
            self.results[index] = result
            self.missing -= 1
            if not self.missing:
                self.done.set()

    def end(self, error: FreeholdError) -> None:
        for index in range(len(self.results)):
            self.answer(index, error)


class Publisher:
    """Stores publications and returns JetStream's confirmations."""

    def __init__(self, connection: NatsConnection) -> None:
        self._connection = connection
        self._inbox = ""
        self._number = 0
        self._waiting: dict[str, tuple[_Round, int]] = {}

    async def open(self) -> None:
        """Listen for confirmations."""
        self._inbox = self._connection.inbox()
        await self._connection.subscribe(f"{self._inbox}.*", self._answered)
        self._connection.on_broken.append(self._give_up)

    async def publish(
        self, publications: Sequence[Publication], timeout_seconds: float
    ) -> Sequence[Mapping[str, Any] | FreeholdError]:
        """Send all at once and wait for all. Returns for each its confirmation, or its error (`publish_error`)."""
        if not publications:
            return []
        round_ = _Round(len(publications))
        tokens: list[str] = []
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_seconds):
                    crash_point("nats.before-send")
                    await self._send(publications, round_, tokens)
                    crash_point("nats.sent")
                    await round_.done.wait()
        except Unavailable as error:
            round_.end(error)
        finally:
            for token in tokens:
                self._waiting.pop(token, None)
        crash_point("nats.answered")
        missing = OperationTimeout(_UNCONFIRMED, hint=_AGAIN)
        return [result if result is not None else missing for result in round_.results]

    async def publish_one(self, publication: Publication, timeout_seconds: float) -> Mapping[str, Any]:
        """Store one publication. Raises its error (`publish_error`)."""
        (result,) = await self.publish([publication], timeout_seconds)
        if isinstance(result, FreeholdError):
            raise result
        return result

    async def _send(self, publications: Sequence[Publication], round_: _Round, tokens: list[str]) -> None:
        for index in range(len(publications)):
            self._number += 1
            token = f"{self._inbox}.{self._number}"
            self._waiting[token] = (round_, index)
            tokens.append(token)
        await self._connection.publish_all(
            [
                (publication.subject, publication.payload, token, publication.headers)
                for publication, token in zip(publications, tokens, strict=True)
            ]
        )

    def _give_up(self) -> None:
        """After the connection broke, end all waits: missing confirmations cannot come any more."""
        for round_ in {id(round_): round_ for round_, _ in self._waiting.values()}.values():
            round_.end(OperationTimeout("the connection to NATS broke before the confirmation", hint=_AGAIN))

    async def _answered(self, message: Msg) -> None:
        waiting = self._waiting.pop(message.subject, None)
        if waiting is None:
            return
        round_, index = waiting
        if message.headers:
            round_.answer(index, StreamGone("no stream has the subject of this message", hint="is JetStream enabled?"))
            return
        answer = msgspec.json.decode(message.data)
        round_.answer(index, publish_error(answer) or answer)
