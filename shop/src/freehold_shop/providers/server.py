"""The providers as an HTTP server: payments, e-mails, their ledger, and the rules for their faults.

Imports aiohttp and the providers' modules.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec
from aiohttp import hdrs, web

from freehold_shop.providers.book import Answer, Book, Refusal
from freehold_shop.providers.errors import LedgerWriteFailed
from freehold_shop.providers.ledger import ENTRIES_PAGE_MAX, Ledger
from freehold_shop.providers.wire import (
    IDEMPOTENCY_HEADER,
    NEXT_AFTER_HEADER,
    EmailRequest,
    EmailRules,
    HoldRequest,
    Problem,
    RefundRequest,
    Rules,
)

__all__ = ["create_app"]

_KEY_LENGTH_MAX = 255
_BODY_BYTES_MAX = 65_536
_PAGE_DEFAULT = 1_000

_encoder = msgspec.json.Encoder()
_BodyT = TypeVar("_BodyT")
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def create_app(book: Book, ledger: Ledger) -> web.Application:
    """The application over an opened book; the caller closes the ledger when the server has stopped."""
    app = web.Application(client_max_size=_BODY_BYTES_MAX, middlewares=[_problems])
    providers = _Providers(book)
    books = _Books(book, ledger)
    app.add_routes(
        [
            web.post("/payments/holds", providers.hold),
            web.post("/payments/holds/{id}/capture", providers.capture),
            web.post("/payments/holds/{id}/void", providers.void),
            web.post("/payments/captures/{id}/refunds", providers.refund),
            web.post("/emails", providers.email),
            web.get("/rules", providers.get_rules),
            web.put("/rules", providers.put_rules),
            web.get("/ledger/entries", books.entries),
            web.get("/ledger/summary", books.summary),
            web.get("/healthz", books.health),
        ]
    )
    return app


class _Providers:
    """The endpoints that have effects, and the rules."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self._rules = Rules()
        self._answer_count = 0

    async def hold(self, request: web.Request) -> web.StreamResponse:
        body = await _body(request, HoldRequest)
        return await self._effect(
            request, self._rules, lambda key: self._book.hold(body, key, self._rules.declines), created=True
        )

    async def capture(self, request: web.Request) -> web.StreamResponse:
        hold_id = request.match_info["id"]
        return await self._effect(request, self._rules, lambda key: self._book.capture(hold_id, key))

    async def void(self, request: web.Request) -> web.StreamResponse:
        hold_id = request.match_info["id"]
        return await self._effect(request, self._rules, lambda key: self._book.void(hold_id, key))

    async def refund(self, request: web.Request) -> web.StreamResponse:
        capture_id = request.match_info["id"]
        body = await _body(request, RefundRequest)
        return await self._effect(
            request, self._rules, lambda key: self._book.refund(capture_id, body, key), created=True
        )

    async def email(self, request: web.Request) -> web.StreamResponse:
        body = await _body(request, EmailRequest)
        return await self._effect(request, self._rules.emails, lambda key: self._book.email(body, key), created=True)

    async def get_rules(self, request: web.Request) -> web.StreamResponse:
        return _json(self._rules)

    async def put_rules(self, request: web.Request) -> web.StreamResponse:
        self._rules = await _body(request, Rules)
        self._answer_count = 0
        return _json(self._rules)

    async def _effect(
        self,
        request: web.Request,
        rules: Rules | EmailRules,
        operate: Callable[[str], Answer],
        *,
        created: bool = False,
    ) -> web.StreamResponse:
        if rules.down:
            return _problem(503, "provider-down", "the provider is down")
        key = request.headers.get(IDEMPOTENCY_HEADER, "")
        if not 0 < len(key) <= _KEY_LENGTH_MAX:
            return _problem(
                400, "idempotency-key-missing", f"{IDEMPOTENCY_HEADER} of 1 to {_KEY_LENGTH_MAX} characters"
            )
        if rules.latency_seconds:
            await asyncio.sleep(rules.latency_seconds)
        answer = operate(key)
        self._answer_count += 1
        if rules.lose_answers and self._answer_count % rules.lose_answers == 0 and request.transport is not None:
            request.transport.abort()
        return _json(answer, 201 if created else 200)


class _Books:
    """The endpoints that read the ledger. The rules do not apply to them."""

    def __init__(self, book: Book, ledger: Ledger) -> None:
        self._book = book
        self._ledger = ledger

    async def entries(self, request: web.Request) -> web.StreamResponse:
        after, limit = _page(request)
        lines, last = self._ledger.lines_after(after, limit)
        return web.Response(
            body=lines, content_type="application/x-ndjson", headers={NEXT_AFTER_HEADER: str(max(after, last))}
        )

    async def summary(self, request: web.Request) -> web.StreamResponse:
        return _json(self._book.summary(*_page(request)))

    async def health(self, request: web.Request) -> web.StreamResponse:
        return _json({"status": "ok", "sequence": self._ledger.sequence})


@web.middleware
async def _problems(request: web.Request, handler: _Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except Refusal as refusal:
        return _problem(refusal.status, refusal.code, refusal.title)
    except msgspec.MsgspecError as error:
        return _problem(400, "malformed", "the body does not fit", str(error))
    except LedgerWriteFailed:
        return _problem(503, "ledger-write-failed", "the ledger could not be written, so there was no effect")
    except web.HTTPException as error:
        return _problem(error.status, "refused", error.reason)


async def _body(request: web.Request, kind: type[_BodyT]) -> _BodyT:
    return msgspec.json.decode(await request.read(), type=kind)


def _page(request: web.Request) -> tuple[int, int]:
    after = _number(request, "after", 0)
    limit = min(_number(request, "limit", _PAGE_DEFAULT), ENTRIES_PAGE_MAX)
    return after, max(limit, 1)


def _number(request: web.Request, name: str, default: int) -> int:
    text = request.query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise Refusal(400, "malformed", f"{name} is no number")
    return int(text)


def _json(answer: object, status: int = 200) -> web.Response:
    return web.Response(body=_encoder.encode(answer), status=status, content_type="application/json")


def _problem(status: int, code: str, title: str, detail: str = "") -> web.Response:
    return web.Response(
        body=_encoder.encode(Problem(title, status, code, detail)),
        status=status,
        content_type="application/problem+json",
        headers={hdrs.RETRY_AFTER: "1"} if status == 503 else None,
    )
