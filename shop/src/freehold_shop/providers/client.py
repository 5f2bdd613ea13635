"""The typed client of the providers, for the services that handle payments and send e-mails.

A decline is a result. `ProviderUnavailable` may be retried, `ProviderRefused` may not. The client retries nothing: the
caller has the policy, and the idempotency key that makes a repetition safe. Imports aiohttp and the wire types.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from types import TracebackType
from typing import Self, TypeVar
from urllib.parse import quote

import aiohttp
import msgspec

from freehold_shop.providers.errors import ProviderConflict, ProviderNotFound, ProviderRefused, ProviderUnavailable
from freehold_shop.providers.wire import (
    IDEMPOTENCY_HEADER,
    NEXT_AFTER_HEADER,
    Captured,
    Declined,
    EmailRequest,
    EmailSent,
    Held,
    HoldRequest,
    LedgerEntry,
    Problem,
    Refunded,
    RefundRequest,
    Rules,
    SummaryPage,
    Voided,
)

__all__ = ["ProvidersClient"]

_ResultT = TypeVar("_ResultT")

_hold_decoder: msgspec.json.Decoder[Held | Declined] = msgspec.json.Decoder(Held | Declined)
_capture_decoder = msgspec.json.Decoder(Captured)
_void_decoder = msgspec.json.Decoder(Voided)
_refund_decoder = msgspec.json.Decoder(Refunded)
_email_decoder = msgspec.json.Decoder(EmailSent)
_rules = msgspec.json.Decoder(Rules)
_entries = msgspec.json.Decoder(LedgerEntry)
_pages = msgspec.json.Decoder(SummaryPage)


class ProvidersClient:
    """A client with open connections, to be used in `async with`. Safe for any number of concurrent calls.

    Each call ends within `timeout_seconds`, and raises `ProviderUnavailable` where the provider has not responded by
    then. After a cancelled call its outcome is unknown, as after a timeout.
    """

    def __init__(self, base_url: str, *, timeout_seconds: float = 5.0, connections_max: int = 100) -> None:
        self._base_url = base_url.rstrip("/")
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        self._connections_max = connections_max
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            timeout=self._timeout,
            connector=aiohttp.TCPConnector(limit=self._connections_max),
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def hold(
        self,
        *,
        order_id: str,
        customer_ref: str,
        amount_pence: int,
        currency: str,
        idempotency_key: str,
        country: str = "",
    ) -> Held | Declined:
        """Reserve an amount on the customer's card."""
        request = HoldRequest(order_id, customer_ref, amount_pence, currency, country)
        return await self._post("/payments/holds", idempotency_key, request, _hold_decoder)

    async def capture(self, hold_id: str, *, idempotency_key: str) -> Captured:
        """Capture the whole hold; `ProviderConflict` where it is voided, or captured under another key."""
        return await self._post(
            f"/payments/holds/{quote(hold_id, safe='')}/capture", idempotency_key, None, _capture_decoder
        )

    async def void(self, hold_id: str, *, idempotency_key: str) -> Voided:
        """Release the hold; `ProviderConflict` where it is captured, or voided under another key."""
        return await self._post(f"/payments/holds/{quote(hold_id, safe='')}/void", idempotency_key, None, _void_decoder)

    async def refund(self, capture_id: str, *, amount_pence: int, idempotency_key: str) -> Refunded:
        """Refund a part of a capture; `ProviderConflict` where all refunds together would exceed it."""
        path = f"/payments/captures/{quote(capture_id, safe='')}/refunds"
        return await self._post(path, idempotency_key, RefundRequest(amount_pence), _refund_decoder)

    async def send_email(self, *, to_ref: str, template: str, order_id: str, idempotency_key: str) -> EmailSent:
        """Send an e-mail to a customer about an order."""
        return await self._post("/emails", idempotency_key, EmailRequest(to_ref, template, order_id), _email_decoder)

    async def rules(self) -> Rules:
        """The current rules of the providers."""
        _, content = await self._request("GET", "/rules")
        return _decode(content, _rules)

    async def put_rules(self, rules: Rules) -> None:
        """Replace all rules; `Rules()` has no faults."""
        await self._request("PUT", "/rules", content=msgspec.json.encode(rules))

    async def check_health(self) -> None:
        """Raise `ProviderUnavailable` unless the process responds."""
        await self._request("GET", "/healthz")

    async def entries(self, *, after: int = 0, page_size: int = 1_000) -> AsyncIterator[LedgerEntry]:
        """The ledger's entries after a sequence, to its end at the time of the last page."""
        while True:
            headers, content = await self._request("GET", f"/ledger/entries?after={after}&limit={page_size}")
            if not content:
                return
            for line in content.splitlines():
                yield _decode(line, _entries)
            after = int(headers[NEXT_AFTER_HEADER])

    async def summary_pages(self, *, page_size: int = 1_000) -> AsyncIterator[SummaryPage]:
        """The totals of every order, a page at a time; at least one page."""
        after: int | None = 0
        while after is not None:
            _, content = await self._request("GET", f"/ledger/summary?after={after}&limit={page_size}")
            page = _decode(content, _pages)
            yield page
            after = page.next_after

    async def _post(
        self, path: str, key: str, body: msgspec.Struct | None, decoder: msgspec.json.Decoder[_ResultT]
    ) -> _ResultT:
        content = msgspec.json.encode(body) if body is not None else b""
        _, response = await self._request("POST", path, content=content, headers={IDEMPOTENCY_HEADER: key})
        return _decode(response, decoder)

    async def _request(
        self, method: str, path: str, *, content: bytes = b"", headers: dict[str, str] | None = None
    ) -> tuple[Mapping[str, str], bytes]:
        if self._session is None:
            raise RuntimeError("use the client inside `async with`")
        try:
            async with self._session.request(
                method, self._base_url + path, data=content or None, headers=headers
            ) as response:
                received = await response.read()
        except (aiohttp.InvalidURL, ValueError) as error:
            raise ProviderRefused("the request is not valid", code="unsendable", status=0) from error
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise ProviderUnavailable("the provider cannot be reached", outcome_unknown=False) from error
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ProviderUnavailable("the provider did not respond", outcome_unknown=True) from error
        if response.status >= 400:
            raise _error(response.status, received)
        return response.headers, received


def _error(status: int, content: bytes) -> ProviderUnavailable | ProviderRefused:
    try:
        problem = msgspec.json.decode(content, type=Problem)
    except msgspec.MsgspecError:
        problem = Problem(f"status {status}", status, "unknown")
    message = f"the provider responded with {status} {problem.code}: {problem.title}"
    match status:
        case 404:
            return ProviderNotFound(message, code=problem.code, status=status)
        case 409:
            return ProviderConflict(message, code=problem.code, status=status)
        case 408 | 429:
            return ProviderUnavailable(message, outcome_unknown=False)
        case _ if status >= 500:
            return ProviderUnavailable(message, outcome_unknown=status != 503)
        case _:
            return ProviderRefused(message, code=problem.code, status=status)


def _decode(content: bytes, decoder: msgspec.json.Decoder[_ResultT]) -> _ResultT:
    try:
        return decoder.decode(content)
    except msgspec.MsgspecError as error:
        raise ProviderUnavailable("the provider's response cannot be read", outcome_unknown=True) from error
