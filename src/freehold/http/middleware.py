"""Ends a request's transaction before its answer is sent. Runtime: imports the foundation, the runtime, Starlette.

An answer below 400 commits, everything else rolls back; when the commit fails, the caller gets that problem instead of
the answer. So no answer ever tells of an effect that does not exist. With an Idempotency-Key the answer itself is kept
in the same transaction, and given again to the caller who repeats the request.

What the application does behind its answer (background tasks, the rest of a stream, what dependencies do after `yield`)
happens after the commit, and not at all where that failed.
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
from freehold.errors import ConcurrencyConflict, FreeholdError, Unavailable
from freehold.failures import describe, root_cause
from freehold.http.caller import Callers
from freehold.http.context import CONSISTENCY_HEADER, CORRELATION_HEADER, RequestContext
from freehold.http.cut import AnswerCutOff
from freehold.http.held import Headers, HeldAnswer, Replay, without_extensions
from freehold.http.limit import told_length
from freehold.http.problems import problem, problem_of, refusal_of
from freehold.idempotency.store import IDEMPOTENCY, StoredResponse
from freehold.outages import on_behalf_of
from freehold.runtime import RunningService
from freehold.transaction import current_token, current_trace_parent, token_witness

__all__ = ["KEYED_BODY_BYTES_MAX", "TransactionMiddleware"]

_log = logging.getLogger("freehold.http")
_CHANGING: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_KEY_LENGTH_MAX: Final = 255
KEYED_BODY_BYTES_MAX: Final = 1024 * 1024
_CORRELATION: Final = CORRELATION_HEADER.encode()
_TRACE: Final = b"traceparent"
_CONSISTENCY: Final = CONSISTENCY_HEADER.encode()
_OURS: Final = frozenset({_CORRELATION, _TRACE, _CONSISTENCY})


class TransactionMiddleware:
    """Plain ASGI middleware around the application; `scope["freehold"]` is the `RequestContext`."""

    def __init__(
        self, app: ASGIApp, *, callers: Callers | None = None, body_bytes_max: int = KEYED_BODY_BYTES_MAX
    ) -> None:
        self._app = app
        self._callers = callers or Callers()
        self._body_bytes_max = min(body_bytes_max, KEYED_BODY_BYTES_MAX)
        # Keys of a version before were nobody's own: whether there may still be such.
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
            context.take_tokens()
        except InvalidToken as error:
            await problem(400, error.message)(scope, receive, sending)
            return
        trace = current_trace_parent.set(context.trace_parent)
        seen = current_token.set(context.token)
        witness = token_witness.set(context.note if running.signer is not None else None)
        try:
            with on_behalf_of(running.outages):
                await self._respond(context, scope, receive, sending)
        finally:
            await context.roll_back()
            current_trace_parent.reset(trace)
            current_token.reset(seen)
            token_witness.reset(witness)

    async def _respond(self, context: RequestContext, scope: Scope, receive: Receive, send: Send) -> None:
        if not (context.keyed and scope["method"] in _CHANGING):
            await self._answer(context, _CommitFirst(context, send), scope, receive, send)
        elif _is_key(context.idempotency_key):
            await self._once(context, scope, receive, send)
        else:
            reason = f"Idempotency-Key is empty, longer than {_KEY_LENGTH_MAX}, or not printable"
            await problem(400, reason)(scope, receive, send)

    async def _answer(
        self, context: RequestContext, answer: _CommitFirst | HeldAnswer, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Have the application answer; a problem goes in place of an answer whose transaction could not be ended."""
        try:
            await self._app(scope, receive, answer.send)
        except Exception as error:
            if answer.error is None:
                passing = _passing(error, context.running)
                if answer.sent and isinstance(passing, Unavailable):
                    context.running.outages.cut_off(passing, whole=answer.whole)
                    raise AnswerCutOff(passing.message, hint=passing.hint) from error
                answer.error = None if answer.sent else passing
                if answer.error is None:
                    raise
            elif not _follows(error, answer.error):
                trace = context.running.context.failures.traceback(error)
                _log.error(
                    "%s: a request failed once more behind its refusal, which is sent (%s)%s",
                    context.running.service.name,
                    describe(error),
                    trace,
                )
        if answer.error is None:
            return
        await context.roll_back()
        match answer.error:
            case FreeholdError():
                await problem_of(answer.error, context.running.context.failures)(scope, receive, send)
            case HTTPException():
                await refusal_of(answer.error)(scope, receive, send)
            case _:
                raise answer.error

    async def _once(self, context: RequestContext, scope: Scope, receive: Receive, send: Send) -> None:
        """The application's answer where the key is new, and the stored one where it is not."""
        try:
            body = await _read(scope, receive, self._body_bytes_max)
            keep = _Keep(context, await self._callers.scope_of(scope, context.running.service.name), scope, body)
            found = await keep.claimed() or await self._used_unscoped(context)
        except _CallerGone:
            # Half a body is not what was asked for, and nobody is there for an answer.
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
        answer = HeldAnswer(send, keep.finish, context.roll_back)
        without_extensions(scope)
        await self._answer(context, answer, scope, _replayed(body, receive), send)
        if not answer.sent and answer.error is None:
            name = context.running.service.name
            _log.error("%s: an application ended without a whole answer; rolled back, and answered with 500", name)
            await context.roll_back()
            await problem(500)(scope, receive, send)

    async def _used_unscoped(self, context: RequestContext) -> ASGIApp | None:
        """A refusal of a key that was used when keys were nobody's own: whose the answer is cannot be told any more."""
        if not self._unscoped:
            return None
        tx, store = await context.transaction(), context.running.stores[IDEMPOTENCY]
        where = f"{context.running.service.name}:http"
        if not await store.used(tx.db_tx, where):
            self._unscoped = False
        elif await store.used(tx.db_tx, where, context.idempotency_key):
            detail = "this Idempotency-Key was used before the service was upgraded; look before a new one"
            return problem(409, detail, code="key-from-before")
        return None


class _Keep:
    """A request's key, and what is kept under it: `where` is the scope of the key."""

    def __init__(self, context: RequestContext, where: str, scope: Scope, body: bytes) -> None:
        self._context = context
        self._where = where
        self._fingerprint = _fingerprint(scope, body)

    async def claimed(self) -> ASGIApp | None:
        """Claim the key; the stored answer or a refusal where it was used before."""
        context = self._context
        tx = await context.transaction()
        store, key = context.running.stores[IDEMPOTENCY], context.idempotency_key
        stored = await store.claim(tx.db_tx, self._where, key, self._fingerprint)
        if stored is None:
            return None
        if stored.fingerprint != self._fingerprint:
            return problem(422, "this Idempotency-Key was used for another request")
        context.note(ConsistencyToken.parse(stored.token))
        return Replay(stored)

    async def finish(self, status: int, headers: Headers, content_type: str, body: bytes) -> None:
        """Store the answer and commit it with its effect."""
        context = self._context
        tx = await context.transaction()
        # Written before the answer is kept: where the events stand belongs to it, for whoever asks again.
        await tx.write()
        answer = StoredResponse(self._fingerprint, status, content_type, body, tx.token.text, headers)
        await context.running.stores[IDEMPOTENCY].complete(tx.db_tx, self._where, context.idempotency_key, answer)
        await context.commit()


class _CallerGone(Exception):
    """The caller hung up before the body had come whole."""


class _CommitFirst:
    """Passes an answer on once its transaction has ended well.

    Where it has not, that is `error`, and raised to the application: nothing of it that comes after an answer runs.
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
                    await self._context.commit()
                else:
                    await self._context.roll_back()
            except Exception as error:
                self.error = error
                raise
            self.sent = True
        await self._send(message)
        self.whole = message["type"] == "http.response.body" and not message.get("more_body", False)


def _passing(error: Exception, running: RunningService) -> FreeholdError | None:
    """What an error of a driver means that an application let through, where it passes by itself: an outage, or that
    somebody else was first. None for all else: that is a bug of the application.
    """
    cause = root_cause(error)
    if isinstance(cause, RuntimeError) and isinstance(cause.__cause__, FreeholdError):
        cause = cause.__cause__  # Starlette, which cannot answer it any more
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


async def _read(scope: Scope, receive: Receive, bytes_max: int) -> bytes:
    """The whole body. Raises `HTTPException` where it is too large to be compared with a repetition, `_CallerGone`."""
    too_large = HTTPException(413, f"with an Idempotency-Key a body has {bytes_max} bytes at most")
    if told_length(scope) > bytes_max:
        raise too_large
    parts: list[bytes] = []
    size = 0
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _CallerGone
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
