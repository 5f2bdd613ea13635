"""HTTP calls between the shop's services and to the providers: keep-alive, a time limit on each, typed failures.

One set of connections for an event loop, made at the first call and shared by all services that run in it. Imports
aiohttp, the providers' client, settings, and Freehold's composition and errors.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar
from weakref import WeakKeyDictionary

import aiohttp
import msgspec
import yarl

from freehold import FreeholdError, Unavailable
from freehold.composition import HttpFetch, Reply, Request, fits_path
from freehold_shop.providers.client import ProvidersClient
from freehold_shop.settings import settings

__all__ = [
    "ServiceRefused",
    "ServiceResponse",
    "ServiceUnavailable",
    "call",
    "close_calls",
    "fetch",
    "providers",
    "reach",
]

T = TypeVar("T")
CONNECTIONS_MAX = 256


class ServiceUnavailable(Unavailable):
    """Another service of the shop did not respond in time, or responded that it cannot serve now."""

    def __init__(self, service: str, reason: str) -> None:
        super().__init__(f"the service '{service}' is not available: {reason}", hint="try again later")
        self.service = service
        self.reason = reason


class ServiceRefused(FreeholdError):
    """Another service of the shop is available and rejects the request: a retry is of no use."""

    def __init__(self, service: str, reason: str) -> None:
        super().__init__(f"the service '{service}' rejects the request: {reason}", hint="check the request")
        self.service = service
        self.reason = reason


@dataclass(frozen=True, slots=True)
class ServiceResponse:
    """The response of a service, with its body undecoded."""

    status: int
    content_type: str
    body: bytes
    headers: Mapping[str, str]


@dataclass(slots=True)
class _Connections:
    session: aiohttp.ClientSession
    reach: HttpFetch
    providers: ProvidersClient


_by_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, _Connections] = WeakKeyDictionary()


async def call(
    service: str,
    method: str,
    path: str,
    *,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    timeout_seconds: float | None = None,
) -> ServiceResponse:
    """Send one request and return the response, whatever its status; redirects are not followed.

    `path` is already quoted. Raises `ServiceUnavailable` if no response came, `ServiceRefused` where the request is
    not valid.
    """
    connections = await _connections()
    limit = aiohttp.ClientTimeout(total=timeout_seconds or settings().call_timeout_seconds)
    sent = {**(headers or {}), **({"content-type": "application/json"} if body is not None else {})}
    if not fits_path(path):
        raise ServiceRefused(service, "the path is not valid")
    # Already quoted: quoting it again would change the path, and so would resolving what looks like a dot segment.
    url = yarl.URL(settings().urls[service] + path, encoded=True)
    try:
        async with connections.session.request(
            method, url, data=body, headers=sent, timeout=limit, allow_redirects=False
        ) as response:
            content = await response.read()
            return ServiceResponse(response.status, response.content_type, content, response.headers)
    except TimeoutError as error:
        raise ServiceUnavailable(service, "no response in time") from error
    except (aiohttp.InvalidURL, ValueError) as error:
        raise ServiceRefused(service, "the request is not valid") from error
    except aiohttp.ClientError as error:
        raise ServiceUnavailable(service, "cannot be reached") from error


async def fetch(service: str, path: str, kind: type[T], *, query: object = None) -> T | None:
    """Read a resource of another service: GET, or POST of `query` where it is given. None where it does not exist.

    `path` is already quoted. Raises `ServiceRefused` where the service rejects the request (4xx except 429, or a
    redirect), `ServiceUnavailable` for every other status, and for a response that is not a `kind`.
    """
    body = None if query is None else msgspec.json.encode(query)
    response = await call(service, "GET" if body is None else "POST", path, body=body)
    if response.status == 404:
        return None
    if 300 <= response.status < 500 and response.status != 429:
        raise ServiceRefused(service, f"it responded with {response.status}")
    if response.status != 200:
        raise ServiceUnavailable(service, f"it responded with {response.status}")
    try:
        return msgspec.json.decode(response.body, type=kind)
    except msgspec.MsgspecError as error:
        raise ServiceUnavailable(service, "its response cannot be read") from error


async def reach(request: Request) -> Reply:
    """Send a composition's request to a service, over the same connections. Raises `Unavailable`."""
    return await (await _connections()).reach(request)


async def providers() -> ProvidersClient:
    """The client of the payment and e-mail providers."""
    return (await _connections()).providers


async def close_calls() -> None:
    """Close the connections of this event loop; the next call opens new ones."""
    connections = _by_loop.pop(asyncio.get_running_loop(), None)
    if connections is not None:
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(connections.session.close)
            stack.push_async_exit(connections.providers)


async def _connections() -> _Connections:
    loop = asyncio.get_running_loop()
    known = _by_loop.get(loop)
    if known is None:
        client = ProvidersClient(
            settings().urls["providers"], timeout_seconds=settings().provider_timeout_seconds, connections_max=64
        )
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=CONNECTIONS_MAX), cookie_jar=aiohttp.DummyCookieJar()
        )
        known = _by_loop[loop] = _Connections(session, HttpFetch(settings().urls, session=session), client)
        await client.__aenter__()
    return known
