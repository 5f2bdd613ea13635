"""Answers that a proxy loses after the request was passed on. Testing: imports the standard library.

A request and its answer are told by bytes that occur in what the two ends send, so the connection must not be
encrypted. The bytes may come in several pieces.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

__all__ = ["MARIADB_COMMIT", "POSTGRESQL_COMMIT", "AnswerWatch", "Exchange", "Loss", "LostAnswers", "nats_publish"]


@dataclass(frozen=True, slots=True)
class Exchange:
    """A kind of request, and its answer.

    request  bytes that the client sends in it, and in no other request.
    answer   bytes that the server sends in the answer to it. Without them, what the server sends next is the answer.
    """

    request: bytes
    answer: bytes = b""


POSTGRESQL_COMMIT: Final = Exchange(b"COMMIT\x00", answer=b"Z\x00\x00\x00\x05I")
"""A COMMIT as text, alone or behind other statements. Its answer ends with ReadyForQuery, outside a transaction."""
MARIADB_COMMIT: Final = Exchange(b"\x03COMMIT")
"""The command COM_QUERY with the text COMMIT."""


def nats_publish(subject: str) -> Exchange:
    """A message for JetStream whose subject begins like this, and the confirmation that it was stored."""
    return Exchange(b"PUB " + subject.encode(), answer=b'"seq":')


class Loss(StrEnum):
    """What becomes of a connection whose answer is lost."""

    CUT = "cut"
    """The client's end is closed."""
    RESET = "reset"
    """The client's end is reset (RST)."""
    HALF_OPEN = "half-open"
    """Nothing: the client waits for an answer that never comes."""


class LostAnswers:
    """Answers that a proxy loses. `requests` counts the requests of the kind that were passed on, `lost` the answers
    that were lost. `end` ends it.
    """

    def __init__(self, exchange: Exchange, which: Callable[[int], bool], loss: Loss) -> None:
        self.exchange = exchange
        self.loss = loss
        self.requests = 0
        self.lost = 0
        self._which = which
        self._ended = False
        self._changed = asyncio.Event()

    def end(self) -> None:
        """Lose no more answers. An answer that is awaited is still lost."""
        self._ended = True

    async def wait(self, lost: int = 1) -> None:
        """Return once so many answers were lost. Without a time limit of its own."""
        while self.lost < lost:
            self._changed.clear()
            await self._changed.wait()

    def is_chosen(self) -> bool:
        """Count a request; whether its answer is to be lost."""
        self.requests += 1
        return not self._ended and self._which(self.requests)

    def note_loss(self) -> None:
        """Count a lost answer."""
        self.lost += 1
        self._changed.set()


class AnswerWatch:
    """Looks for requests and answers of one kind on one connection."""

    def __init__(self, answers: LostAnswers) -> None:
        self.answers = answers
        self.waits = False
        """Whether an answer is to be lost: nothing of the server is passed on any more."""
        self._sent = b""
        self._answered = b""

    def sent(self, data: bytes) -> None:
        """Look at what the client sends."""
        request = self.answers.exchange.request
        text = self._sent + data
        for _ in range(text.count(request)):
            if self.answers.is_chosen() and not self.waits:
                self.waits, self._answered = True, b""
        self._sent = text[-(len(request) - 1) :] if len(request) > 1 else b""

    def answered(self, data: bytes) -> bool:
        """Look at what the server sends; whether the awaited answer is in it."""
        answer = self.answers.exchange.answer
        if not self.waits:
            return False
        text = self._answered + data
        self._answered = text[-(len(answer) - 1) :] if len(answer) > 1 else b""
        return answer in text
