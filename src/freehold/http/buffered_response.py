"""A response that is buffered until it is stored and its transaction has ended, and the replay of a stored response.

Imports the store's port and Starlette's types.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from starlette.exceptions import HTTPException
from starlette.types import Message, Receive, Scope, Send

from freehold.idempotency.store import StoredResponse

__all__ = [
    "RESPONSE_BYTES_MAX",
    "BufferedResponse",
    "Headers",
    "ReplayedResponse",
    "ResponseTooLarge",
    "without_extensions",
]

_log = logging.getLogger("freehold.http")
RESPONSE_BYTES_MAX: Final = 1024 * 1024
HEADERS_BYTES_MAX: Final = 32 * 1024
_CONTENT_TYPE: Final = b"content-type"
_NOT_KEPT: Final = frozenset(
    {
        # They set the state of one client.
        b"set-cookie",
        b"set-cookie2",
        b"authentication-info",
        b"proxy-authentication-info",
        # They belong to one connection.
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"alt-svc",
        # They belong to one message, and are made again when the response is replayed.
        b"age",
        b"content-length",
        b"date",
        b"server",
        b"server-timing",
        b"x-correlation-id",
        b"x-request-id",
        b"traceparent",
        b"tracestate",
        b"freehold-consistency",
        b"freehold-freshness",
        b"idempotency-replayed",
    }
)
_FULFILLED_ELSEWHERE: Final = frozenset(
    {
        "http.response.pathsend",
        "http.response.zerocopysend",
        "http.response.trailers",
        "http.response.early_hint",
        "http.response.push",
    }
)
_WITHOUT_BODY: Final = frozenset({204, 304})

Headers = tuple[tuple[str, str], ...]
Finish = Callable[[int, Headers, str, bytes], Awaitable[None]]
"""Called with status, headers, content type and body of a complete response with a status below 400."""


class ResponseTooLarge(HTTPException):
    """A response is too large to be stored for its key. Its effect is rolled back, and the status is 500."""

    def __init__(self) -> None:
        super().__init__(500, "the response is too large to be kept for its Idempotency-Key; nothing was done")


class BufferedResponse:
    """Buffers a response with a status below 400, and calls `finish` before its first byte is sent; others are sent as
    they are, after `fail` was called.

    `finish` stores the response and commits. If it fails, `error` is set and raised to the application, so that its
    code after the response does not run.
    """

    def __init__(self, send: Send, finish: Finish, fail: Callable[[], Awaitable[None]]) -> None:
        self._send = send
        self._finish = finish
        self._fail = fail
        self._start: Message | None = None
        self._parts: list[bytes] = []
        self._bytes = 0
        self.sent = False
        self.whole = False
        self.error: Exception | None = None

    async def send(self, message: Message) -> None:
        """Take the next message of the application's response. Raises `ResponseTooLarge`, and errors of `finish`."""
        if self.error is not None:
            raise self.error
        match message["type"]:
            case "http.response.start" if message["status"] >= 400:
                await self._fail()
                self.sent = True
                await self._send(message)
            case "http.response.start":
                self._start = message
            case "http.response.body" if self._start is not None:
                await self._hold(self._start, message)
            case "http.response.body":
                await self._send(message)
                self.whole = not message.get("more_body", False)
            case _:
                pass  # hints and trailers are not stored

    async def _hold(self, start: Message, message: Message) -> None:
        try:
            body = self._collected(message)
            if body is not None:
                self._start = None
                await self._finished(start, body)
        except Exception as error:
            self.error = error
            raise
        if body is not None:
            self.sent = True
            await self._send(start)
            await self._send({"type": "http.response.body", "body": body})
            self.whole = True

    def _collected(self, message: Message) -> bytes | None:
        part = bytes(message.get("body", b""))
        self._bytes += len(part)
        if self._bytes > RESPONSE_BYTES_MAX:
            _log.error("the response to a request with an Idempotency-Key has more than %d bytes", RESPONSE_BYTES_MAX)
            raise ResponseTooLarge
        self._parts.append(part)
        if message.get("more_body", False):
            return None
        body, self._parts = b"".join(self._parts), []
        return body

    async def _finished(self, start: Message, body: bytes) -> None:
        headers = tuple(start.get("headers", ()))
        kept = kept_headers(headers)
        if sum(len(name) + len(value) for name, value in kept) > HEADERS_BYTES_MAX:
            text = "the headers of a response to a request with an Idempotency-Key have more than %d bytes"
            _log.error(text, HEADERS_BYTES_MAX)
            raise ResponseTooLarge
        content_type = next((value.decode("latin-1") for name, value in headers if name.lower() == _CONTENT_TYPE), "")
        await self._finish(start["status"], kept, content_type, body)


class ReplayedResponse:
    """A stored response, as an ASGI application that sends it."""

    def __init__(self, stored: StoredResponse) -> None:
        self._stored = stored

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Send the response."""
        stored = self._stored
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in stored.headers]
        if stored.content_type:
            headers.append((_CONTENT_TYPE, stored.content_type.encode("latin-1")))
        if stored.status not in _WITHOUT_BODY:
            headers.append((b"content-length", str(len(stored.body)).encode()))
        headers.append((b"idempotency-replayed", b"true"))
        await send({"type": "http.response.start", "status": stored.status, "headers": headers})
        await send({"type": "http.response.body", "body": stored.body})


def kept_headers(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """The headers to store, in their order, repeated ones too; without those of a connection or a client, and without
    the content type, which is stored separately.
    """
    headers = [(name.lower(), value) for name, value in headers]
    named = b",".join(value for name, value in headers if name == b"connection")
    left_out = _NOT_KEPT | {token.strip().lower() for token in named.split(b",")} | {_CONTENT_TYPE}
    return tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in headers if name not in left_out)


def without_extensions(scope: Scope) -> None:
    """Remove the ASGI extensions by which an application sends a response without its body, such as a file's path."""
    extensions = scope.get("extensions") or {}
    scope["extensions"] = {name: value for name, value in extensions.items() if name not in _FULFILLED_ELSEWHERE}
