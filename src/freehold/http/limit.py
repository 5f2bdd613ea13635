"""A limit for the size of requests' bodies, so that a request takes a limited amount of memory. Imports Starlette.

A body with a content length is refused before any of it is read; one that arrives in chunks, as soon as it is too long.
"""

from __future__ import annotations

from typing import Final

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from freehold.errors import DeclarationError
from freehold.http.problems import problem

__all__ = ["BODY_BYTES_MAX", "BodyLimitMiddleware", "BodyTooLarge", "check_bytes_max", "content_length"]

BODY_BYTES_MAX: Final = 8 * 1024 * 1024
_DIGITS_MAX: Final = 18


class BodyTooLarge(HTTPException):
    """The request's body is larger than the limit: 413."""

    def __init__(self, bytes_max: int) -> None:
        super().__init__(413, f"a body may have {bytes_max} bytes at most")


class BodyLimitMiddleware:
    """ASGI middleware that responds 413 to a body of more than `bytes_max` bytes.

    An application that reads the body gets `BodyTooLarge` at the limit, and its own response is replaced. Raises
    `DeclarationError` for a limit below 0.
    """

    def __init__(self, app: ASGIApp, *, bytes_max: int = BODY_BYTES_MAX) -> None:
        check_bytes_max(bytes_max)
        self._app = app
        self._bytes_max = bytes_max

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = BodyTooLarge(self._bytes_max)
        if content_length(scope) > self._bytes_max:
            await problem(413, refusal.detail)(scope, receive, send)
            return
        counted = _Counted(receive, send, scope, refusal, self._bytes_max)
        try:
            await self._app(scope, counted.receive, counted.send)
        except Exception:
            if not counted.refused:
                raise
        if counted.exceeded and not counted.begun:
            await counted.refuse()


class _Counted:
    """One request whose body is counted while it is read."""

    def __init__(self, receive: Receive, send: Send, scope: Scope, refusal: BodyTooLarge, bytes_max: int) -> None:
        self._receive = receive
        self._send = send
        self._scope = scope
        self._refusal = refusal
        self._bytes_max = bytes_max
        self._bytes = 0
        self.begun = False
        self.refused = False

    @property
    def exceeded(self) -> bool:
        return self._bytes > self._bytes_max

    async def receive(self) -> Message:
        if self.exceeded:
            raise self._refusal
        message = await self._receive()
        if message["type"] == "http.request":
            self._bytes += len(message.get("body", b""))
            if self.exceeded:
                raise self._refusal
        return message

    async def send(self, message: Message) -> None:
        if self.exceeded and not self.begun:
            await self.refuse()
            raise self._refusal
        self.begun = True
        await self._send(message)

    async def refuse(self) -> None:
        """Respond in place of the application."""
        self.begun = self.refused = True
        await problem(413, self._refusal.detail)(self._scope, self._receive, self._send)


def check_bytes_max(bytes_max: int) -> None:
    """Raise `DeclarationError` for a limit that is not a number of bytes."""
    if type(bytes_max) is not int or bytes_max < 0:
        raise DeclarationError("the limit for bodies is not a number of bytes", hint="body_bytes_max is a whole number")


def content_length(scope: Scope) -> int:
    """The length of the body by the request's header; 0 if there is none."""
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value[:_DIGITS_MAX]) if value.isdigit() else 0
    return 0
