"""Ends a request's transaction before its answer is sent. Runtime: imports the foundation, the runtime, Starlette.

An answer below 400 commits, everything else rolls back; when the commit fails, the caller gets that problem instead of
the answer. So no answer ever tells of an effect that does not exist. With an Idempotency-Key the answer itself is kept
in the same transaction, and given again to whoever repeats the request.
"""

from __future__ import annotations

import hashlib
from collections.abc import MutableMapping
from typing import Any, Final

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from freehold.consistency.signing import TokenRefused
from freehold.consistency.token import Token
from freehold.errors import FreeholdError
from freehold.http.context import CONSISTENCY_HEADER, CORRELATION_HEADER, RequestContext
from freehold.http.problems import problem, problem_of
from freehold.http.store import StoredAnswer
from freehold.runtime import RunningService
from freehold.transaction import current_token, current_trace_parent, token_witness

__all__ = ["TransactionMiddleware"]

_CHANGING: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_KEY_LENGTH_MAX: Final = 255
_BODY_BYTES_MAX: Final = 1024 * 1024
_CORRELATION: Final = CORRELATION_HEADER.encode()
_TRACE: Final = b"traceparent"
_CONSISTENCY: Final = CONSISTENCY_HEADER.encode()
_OURS: Final = frozenset({_CORRELATION, _TRACE, _CONSISTENCY})


class TransactionMiddleware:
    """Plain ASGI middleware around the application; `scope["freehold"]` is the `RequestContext`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        running = _running(scope)
        if scope["type"] != "http" or running is None:
            await self._app(scope, receive, send)
            return
        context = scope["freehold"] = RequestContext(running, scope["headers"])
        sending = _with_headers(context, send)
        try:
            context.take_tokens()
        except TokenRefused as error:
            await problem(400, error.message)(scope, receive, sending)
            return
        trace = current_trace_parent.set(context.trace_parent)
        seen = current_token.set(context.token)
        witness = token_witness.set(context.note if running.signer is not None else None)
        try:
            if context.idempotency_key and scope["method"] in _CHANGING:
                await self._once(context, scope, receive, sending)
            else:
                answer = _CommitFirst(context, scope, receive, sending)
                await self._app(scope, receive, answer.send)
        finally:
            await context.roll_back()
            current_trace_parent.reset(trace)
            current_token.reset(seen)
            token_witness.reset(witness)

    async def _once(self, context: RequestContext, scope: Scope, receive: Receive, send: Send) -> None:
        if len(context.idempotency_key) > _KEY_LENGTH_MAX or not context.idempotency_key.isprintable():
            await problem(400, f"Idempotency-Key is longer than {_KEY_LENGTH_MAX}, or not printable")(
                scope, receive, send
            )
            return
        try:
            body = await _read(receive)
        except _CallerGone:
            # Half a body is not what was asked for, and nobody is there for an answer.
            return
        if body is None:
            await problem(413, f"with an Idempotency-Key a body has {_BODY_BYTES_MAX} bytes at most")(
                scope, receive, send
            )
            return
        try:
            answer = await self._answer(context, scope, receive, body)
        except FreeholdError as error:
            answer = problem_of(error)
        await answer(scope, receive, send)

    async def _answer(self, context: RequestContext, scope: Scope, receive: Receive, body: bytes) -> ASGIApp:
        """The stored answer, a refusal, or the application's answer after its commit."""
        store, where = context.running.stores.idempotency, f"{context.running.service.name}:http"
        fingerprint = _fingerprint(scope, body)
        tx = await context.transaction()
        stored = await store.claim(tx.unit, where, context.idempotency_key, fingerprint)
        if stored is not None:
            await context.roll_back()
            if stored.fingerprint != fingerprint:
                return problem(422, "this Idempotency-Key was used for another request")
            context.note(Token.parse(stored.token))
            headers = {"content-type": stored.content_type, "idempotency-replayed": "true"}
            return Response(stored.body, stored.status, headers)
        recorded = _Recorded()
        await self._app(scope, _replayed(body, receive), recorded.send)
        if recorded.status >= 400:
            await context.roll_back()
            return recorded.play
        # Written before the answer is kept: where the events stand belongs to it, for whoever asks again.
        await tx.flush()
        answer = StoredAnswer(fingerprint, recorded.status, recorded.content_type, recorded.body, tx.token.text)
        await store.complete(tx.unit, where, context.idempotency_key, answer)
        await context.commit()
        return recorded.play


class _CallerGone(Exception):
    """The caller hung up before the body had come whole."""


class _CommitFirst:
    """Passes an answer on once its transaction has ended well; puts a problem in its place otherwise."""

    def __init__(self, context: RequestContext, scope: Scope, receive: Receive, send: Send) -> None:
        self._context = context
        self._scope = scope
        self._receive = receive
        self._send = send
        self._replaced = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            try:
                if message["status"] < 400:
                    await self._context.commit()
                else:
                    await self._context.roll_back()
            except FreeholdError as error:
                self._replaced = True
                await problem_of(error)(self._scope, self._receive, self._send)
        if not self._replaced:
            await self._send(message)


class _Recorded:
    """An answer that is held back until its transaction has ended."""

    def __init__(self) -> None:
        self._messages: list[Message] = []
        self.body = b""
        self.status = 500
        self.content_type = "application/octet-stream"

    async def send(self, message: Message) -> None:
        self._messages.append(message)
        if message["type"] == "http.response.start":
            self.status = message["status"]
            for name, value in message.get("headers", ()):
                if name == b"content-type":
                    self.content_type = value.decode("latin-1")
                    break
        elif message["type"] == "http.response.body":
            self.body += message.get("body", b"")

    async def play(self, scope: Scope, receive: Receive, send: Send) -> None:
        for message in self._messages:
            await send(message)


def _running(scope: MutableMapping[str, Any]) -> RunningService | None:
    app = scope.get("app")
    return getattr(app.state, "freehold", None) if app is not None else None


def _with_headers(context: RequestContext, send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            kept = [header for header in message.get("headers", ()) if header[0] not in _OURS]
            kept.append((_CORRELATION, str(context.correlation_id).encode("ascii")))
            kept.append((_TRACE, context.trace_parent.encode("ascii")))
            token = context.signed_token()
            if token:
                kept.append((_CONSISTENCY, token.encode("ascii")))
            kept.extend(context.answer_headers.items())
            message["headers"] = kept
        await send(message)

    return sending


async def _read(receive: Receive) -> bytes | None:
    """The whole body; None where it is too large to be compared with a repetition. Raises `_CallerGone`."""
    parts: list[bytes] = []
    size = 0
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _CallerGone
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > _BODY_BYTES_MAX:
            return None
        more = message.get("more_body", False)
    return b"".join(parts)


def _replayed(body: bytes, receive: Receive) -> Receive:
    pending = True

    async def receiving() -> Message:
        nonlocal pending
        if pending:
            pending = False
            return {"type": "http.request", "body": body, "more_body": False}
        return await receive()

    return receiving


def _fingerprint(scope: Scope, body: bytes) -> str:
    digest = hashlib.sha256()
    for part in (scope["method"].encode(), scope["path"].encode(), scope.get("query_string", b""), body):
        digest.update(len(part).to_bytes(8))
        digest.update(part)
    return digest.hexdigest()
