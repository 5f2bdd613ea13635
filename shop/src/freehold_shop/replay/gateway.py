"""The replay's client of the shop's gateway: typed calls that are repeated until they are answered.

A call is repeated while the gateway restarts, a service behind it is down, or a fault is on. That is safe, because each
order and return has its reference as idempotency key. Imports aiohttp, msgspec and the patience.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import aiohttp
import msgspec

from freehold import FreeholdError
from freehold_shop.replay.patience import Patience

__all__ = ["Gateway", "OrderState", "Part", "Refused", "ReturnState", "ShopRefused"]

_CALL_SECONDS = 35.0
_TEMPORARY = frozenset({408, 425, 429})
_ORDER_EXISTS, _KEY_FROM_BEFORE = "order-exists", "key-from-before"


class ShopRefused(FreeholdError):
    """The shop rejects products, customers, stock or a query that every replay needs: a bug, or another version."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The shop rejects this order or return finally; `reason` is the shop's code."""

    reason: str


class OrderState(msgspec.Struct, frozen=True):
    """The state of an order. `ended_at_ms` is None until it has ended."""

    order_id: str
    status: str
    reason: str | None = None
    ended_at_ms: int | None = None


class Part(msgspec.Struct, frozen=True):
    """A quantity of a product."""

    sku: str
    quantity: int


class ReturnState(msgspec.Struct, frozen=True):
    """The state of a return; `unmatched` was never sold to the customer."""

    return_ref: str
    status: str
    unmatched: tuple[Part, ...] = ()

    @property
    def ended(self) -> bool:
        """Whether everything is refunded and restocked."""
        return self.status == "completed"


class _Problem(msgspec.Struct):
    code: str = ""
    detail: str = ""


_encoder = msgspec.json.Encoder()
_states = msgspec.json.Decoder(list[OrderState])
_return_states = msgspec.json.Decoder(ReturnState)
_problems = msgspec.json.Decoder(_Problem)


class Gateway:
    """A client of the gateway, to be used in `async with`. `locate` returns its URL, also after a failed connection.

    Every call raises `OutOfPatience` where the shop has not answered for too long.
    """

    def __init__(self, locate: Callable[[], str], patience: Patience, *, connections_max: int) -> None:
        self._locate = locate
        self._patience = patience
        self._connections_max = connections_max
        self._url = locate()
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=_CALL_SECONDS),
            connector=aiohttp.TCPConnector(limit=self._connections_max),
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def take_in(self, intake: Any) -> None:
        """Send products, customers and stock. Raises `ShopRefused`."""
        status, body = await self._persist("POST", "/intake", intake)
        if status >= 400:
            codes = sorted({str(each.get("code") or each.get("status")) for each in _problem_shares(body)})
            raise ShopRefused(
                f"the shop rejected products, customers or stock: {', '.join(codes) or status}",
                hint="check that the shop has the same version",
            )

    async def place(self, reference: str, order: Any) -> Refused | None:
        """Place an order; None: it is placed."""
        status, body = await self._persist("POST", "/orders", order, key=reference)
        if _is_from_before(status, body):
            if await self.order_states([reference]):
                return None
            status, body = await self._persist("POST", "/orders", order, key=f"{reference}-again")
        return _refused(status, body) if status >= 400 else None

    async def request_return(self, reference: str, wanted: Any) -> ReturnState | Refused:
        """Request a return. Waits while an order in flight may have its goods."""
        status, body = await self._persist("POST", "/returns", wanted, key=reference)
        if _is_from_before(status, body):
            status, body = await self._persist("GET", f"/returns/{reference}")
            if status == 404:
                status, body = await self._persist("POST", "/returns", wanted, key=f"{reference}-again")
        return _refused(status, body) if status >= 400 else _return_states.decode(body)

    async def order_states(self, order_ids: Sequence[str]) -> list[OrderState]:
        """The states of these orders, in any order; without those that do not exist."""
        status, body = await self._persist("POST", "/orders/query", {"order_ids": order_ids})
        if status >= 400:
            raise ShopRefused(f"the shop rejected the query of orders ({status})")
        return _states.decode(body)

    async def return_state(self, reference: str) -> ReturnState:
        """The state of a return."""
        status, body = await self._persist("GET", f"/returns/{reference}")
        if status >= 400:
            raise ShopRefused(f"the shop rejected the query of a return ({status})")
        return _return_states.decode(body)

    async def _persist(self, method: str, path: str, document: Any = None, key: str | None = None) -> tuple[int, bytes]:
        """Send the request until the response is final."""
        content = None if document is None else _encoder.encode(document)
        headers = {"content-type": "application/json"} if content is not None else {}
        if key is not None:
            headers["idempotency-key"] = key
        attempt = 0
        while True:
            attempt += 1
            status, body = await self._ask(method, path, content, headers)
            if status and not _is_temporary(status, body):
                if key is not None:
                    self._patience.progress()
                return status, body
            self._patience.trouble(f"{method} {path}: status {status}" if status else "the gateway did not answer")
            await self._patience.wait(attempt)

    async def _ask(self, method: str, path: str, content: bytes | None, headers: dict[str, str]) -> tuple[int, bytes]:
        """Send the request once; status 0 where no response came."""
        if self._session is None:
            raise RuntimeError("use the gateway inside `async with`")
        try:
            async with self._session.request(method, self._url + path, data=content, headers=headers) as response:
                return response.status, await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError):
            self._url = self._locate()
            return 0, b""


def _is_temporary(status: int, body: bytes) -> bool:
    if status >= 500 or status in _TEMPORARY:
        return True
    return status == 409 and _problem(body).code not in {_ORDER_EXISTS, _KEY_FROM_BEFORE}


def _is_from_before(status: int, body: bytes) -> bool:
    """Whether the key was used before an upgrade of the shop, which no longer has the response."""
    return status == 409 and _problem(body).code == _KEY_FROM_BEFORE


def _refused(status: int, body: bytes) -> Refused:
    return Refused(_problem(body).code or f"refused-{status}")


def _problem(body: bytes) -> _Problem:
    try:
        return _problems.decode(body)
    except msgspec.MsgspecError:
        return _Problem()


def _problem_shares(body: bytes) -> list[dict[str, Any]]:
    try:
        shares = msgspec.json.decode(body, type=dict[str, Any])
    except msgspec.MsgspecError:
        return []
    return [share for share in shares.values() if isinstance(share, dict) and share.get("status", 200) != 200]
