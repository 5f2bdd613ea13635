"""Middleware that ends a request's transaction before its response is sent. Runtime: imports the foundation, the
runtime, Starlette.

A response with a status below 400 commits, any other rolls back. If the commit fails, the caller gets that problem
instead of the response. So a response never reports an effect that does not exist. With an Idempotency-Key the response
is stored in the same transaction, and replayed to a caller who repeats the request.

The application's work after its response (background tasks, the rest of a stream, dependencies after `yield`) runs
after the commit, and does not run if the commit failed.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import MutableMapping
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from freehold.consistency.signer import InvalidToken
from freehold.consistency.token import ConsistencyToken
from freehold.crash_points import crash_point
from freehold.errors import ConcurrencyConflict, FreeholdError, Unavailable
from freehold.failures import describe, root_cause
from freehold.http.aborted_response import ResponseAborted
from freehold.http.buffered_response import BufferedResponse, Headers, ReplayedResponse, without_extensions
from freehold.http.caller import Callers
from freehold.http.context import CONSISTENCY_HEADER, CORRELATION_HEADER, RequestContext
from freehold.http.limit import content_length
from freehold.http.problems import problem, problem_of, refusal_of
from freehold.idempotency.store import IDEMPOTENCY, StoredResponse
from freehold.outages import on_behalf_of
from freehold.runtime import RunningService
from freehold.transaction import current_token, current_trace, token_witness

__all__ = ["KEYED_BODY_BYTES_MAX", "TransactionMiddleware"]

_log = logging.getLogger("freehold.http")
_CHANGING: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_KEY_LENGTH_MAX: Final = 255
KEYED_BODY_BYTES_MAX: Final = 1024 * 1024
_CORRELATION: Final = CORRELATION_HEADER.encode()
_TRACE: Final = b"traceparent"
_CONSISTENCY: Final = CONSISTENCY_HEADER.encode()
_OWN_HEADERS: Final = frozenset({_CORRELATION, _TRACE, _CONSISTENCY})


class TransactionMiddleware:
    """ASGI middleware around the application; `scope["freehold"]` is the `RequestContext`."""

    def __init__(
        self, app: ASGIApp, *, callers: Callers | None = None, body_bytes_max: int = KEYED_BODY_BYTES_MAX
    ) -> None:
        self._app = app
        self._callers = callers or Callers()
        self._body_bytes_max = min(body_bytes_max, KEYED_BODY_BYTES_MAX)
        # Whether there may be keys of a former version, which had no caller.
        self._unscoped = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        running = _running(scope)
        if scope["type"] != "http" or running is None:
            await self._app(scope, receive, send)
            return
        context = scope["freehold"] = RequestContext(running, scope["headers"])
        sending = _with_headers(context, send)
        try:
            context.verify_tokens()
        except InvalidToken as error:
            await problem(400, error.message)(scope, receive, sending)
            return
        trace = current_trace.set(context.trace)
        seen = current_token.set(context.token)
        witness = token_witness.set(context.note if running.signer is not None else None)
        try:
            with on_behalf_of(running.outages):
                await self._respond(context, scope, receive, sending)
        finally:
            await context.roll_back()
            current_trace.reset(trace)
            current_token.reset(seen)
            token_witness.reset(witness)

    async def _respond(self, context: RequestContext, scope: Scope, receive: Receive, send: Send) -> None:
        if not (context.keyed and scope["method"] in _CHANGING):
            await self._call(context, _CommitFirst(context, send), scope, receive, send)
        elif _is_key(context.idempotency_key):
            await self._once(context, scope, receive, send)
        else:
            reason = f"Idempotency-Key is empty, longer than {_KEY_LENGTH_MAX}, or not printable"
            await problem(400, reason)(scope, receive, send)

    async def _call(
        self,
        context: RequestContext,
        response: _CommitFirst | BufferedResponse,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        """Call the application. If the transaction of its response cannot be ended, a problem is sent instead."""
        try:
            await self._app(scope, receive, response.send)
        except Exception as error:
            if response.error is None:
                transient = _transient(error, context.running)
                if response.sent and isinstance(transient, Unavailable):
                    context.running.outages.cut_off(transient, whole=response.whole)
                    raise ResponseAborted(transient.message, hint=transient.hint) from error
                response.error = None if response.sent else transient
                if response.error is None:
                    raise
            elif not _follows(error, response.error):
                trace = context.running.context.failures.traceback(error)
                _log.error(
                    "%s: a request failed again after its first error, which is sent (%s)%s",
                    context.running.service.name,
                    describe(error),
                    trace,
                )
        if response.error is None:
            return
        await context.roll_back()
        match response.error:
            case FreeholdError():
                await problem_of(response.error, context.running.context.failures)(scope, receive, send)
            case HTTPException():
                await refusal_of(response.error)(scope, receive, send)
            case _:
                raise response.error

    async def _once(self, context: RequestContext, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the application if the key is new; otherwise replay the stored response."""
        try:
            body = await _read(scope, receive, self._body_bytes_max)
            key_scope = await self._callers.scope_of(scope, context.running.service.name)
            key = _IdempotencyKey(context, key_scope, _fingerprint(scope, body))
            found = await key.claimed() or await self._used_unscoped(context)
        except _ClientDisconnected:
            # The body is incomplete, so the request must not be carried out, and nobody reads a response.
            return
        except HTTPException as error:
            await refusal_of(error)(scope, receive, send)
            return
        except FreeholdError as error:
            await problem_of(error, context.running.context.failures)(scope, receive, send)
            return
        if found is not None:
            await context.roll_back()
            await found(scope, receive, send)
            return
        response = BufferedResponse(send, key.finish, context.roll_back)
        without_extensions(scope)
        await self._call(context, response, scope, _replayed(body, receive), send)
        if not response.sent and response.error is None:
            name = context.running.service.name
            _log.error("%s: an application sent no complete response; the request is rolled back, status 500", name)
            await context.roll_back()
            await problem(500)(scope, receive, send)

    async def _used_unscoped(self, context: RequestContext) -> ASGIApp | None:
        """A refusal of a key that a former version stored without its caller: it may be another caller's."""
        if not self._unscoped:
            return None
        tx, store = await context.transaction(), context.running.stores[IDEMPOTENCY]
        where = f"{context.running.service.name}:http"
        if not await store.used(tx.db_tx, where):
            self._unscoped = False
        elif await store.used(tx.db_tx, where, context.idempotency_key):
            detail = "this Idempotency-Key was used before the service was upgraded; check what it did before you retry"
            return problem(409, detail, code="key-from-before")
        return None


class _IdempotencyKey:
    """A request's key, unique in `scope`. `fingerprint` identifies the request that it is used for."""

    def __init__(self, context: RequestContext, scope: str, fingerprint: str) -> None:
        self._context = context
        self._scope = scope
        self._fingerprint = fingerprint

    async def claimed(self) -> ASGIApp | None:
        """Claim the key; returns the stored response, or a refusal, if it was used before."""
        context = self._context
        tx = await context.transaction()
        store, key = context.running.stores[IDEMPOTENCY], context.idempotency_key
        stored = await store.claim(tx.db_tx, self._scope, key, self._fingerprint)
        crash_point("http.key-claimed")
        if stored is None:
            return None
        if stored.fingerprint != self._fingerprint:
            return problem(422, "this Idempotency-Key was used for another request")
        context.note(ConsistencyToken.parse(stored.token))
        return ReplayedResponse(stored)

    async def finish(self, status: int, headers: Headers, content_type: str, body: bytes) -> None:
        """Store the response and commit it with its effect."""
        context = self._context
        tx = await context.transaction()
        # Written first: the token, which is stored with the response, contains the positions of the written events.
        await tx.write()
        response = StoredResponse(self._fingerprint, status, content_type, body, tx.token.text, headers)
        crash_point("http.before-response-saved")
        await context.running.stores[IDEMPOTENCY].complete(tx.db_tx, self._scope, context.idempotency_key, response)
        crash_point("http.response-saved")
        await context.commit()
        crash_point("http.response-committed")


class _ClientDisconnected(Exception):
    """The client closed the connection before the body was complete."""


class _CommitFirst:
    """Sends a response once its transaction has ended.

    If that fails, `error` is set and raised to the application, so that its code after the response does not run.
    """

    def __init__(self, context: RequestContext, send: Send) -> None:
        self._context = context
        self._send = send
        self.sent = False
        self.whole = False
        self.error: Exception | None = None

    async def send(self, message: Message) -> None:
        if self.error is not None:
            raise self.error
        if message["type"] == "http.response.start":
            try:
                if message["status"] < 400:
                    crash_point("http.before-commit")
                    await self._context.commit()
                else:
                    await self._context.roll_back()
            except Exception as error:
                self.error = error
                raise
            crash_point("http.before-response")
            self.sent = True
        await self._send(message)
        self.whole = message["type"] == "http.response.body" and not message.get("more_body", False)


def _transient(error: Exception, running: RunningService) -> FreeholdError | None:
    """The outage or conflict that an application's error was caused by, also as an exception of the driver. None for
    any other error: that is a bug of the application.
    """
    cause = root_cause(error)
    if isinstance(cause, RuntimeError) and isinstance(cause.__cause__, FreeholdError):
        cause = cause.__cause__  # Starlette raises RuntimeError from an error after the response has begun
    known = cause if isinstance(cause, FreeholdError) else running.stores.database.translate_error(cause)
    if not isinstance(known, Unavailable | ConcurrencyConflict):
        return None
    if known is not error:
        known.__cause__ = error
    return known


def _follows(error: BaseException, cause: BaseException) -> bool:
    """Whether an error is this one, or was raised because of it."""
    found: BaseException | None = error
    while found is not None and found is not cause:
        found = found.__cause__ or found.__context__
    return found is not None


def _is_key(key: str) -> bool:
    return 0 < len(key) <= _KEY_LENGTH_MAX and key.isprintable()


def _running(scope: MutableMapping[str, Any]) -> RunningService | None:
    app = scope.get("app")
    return getattr(app.state, "freehold", None) if app is not None else None


def _with_headers(context: RequestContext, send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            kept = [header for header in message.get("headers", ()) if header[0] not in _OWN_HEADERS]
            kept.append((_CORRELATION, str(context.correlation_id).encode("ascii")))
            if context.trace is not None:
                kept.append((_TRACE, context.trace.parent.encode("ascii")))
            token = context.signed_token()
            if token:
                kept.append((_CONSISTENCY, token.encode("ascii")))
            kept.extend(context.response_headers.items())
            message["headers"] = kept
        await send(message)

    return sending


async def _read(scope: Scope, receive: Receive, bytes_max: int) -> bytes:
    """The whole body. Raises `HTTPException` if it is too large, and `_ClientDisconnected`."""
    too_large = HTTPException(413, f"with an Idempotency-Key a body may have {bytes_max} bytes at most")
    if content_length(scope) > bytes_max:
        raise too_large
    parts: list[bytes] = []
    size = 0
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _ClientDisconnected
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > bytes_max:
            raise too_large
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
