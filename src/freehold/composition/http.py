"""`Fetch` over HTTP. Imports aiohttp (extra `composition`) when it is used, and the port.

Connections are kept open and shared. Redirects are not followed, cookies are not kept, and the size of a response is
limited.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from freehold.composition.fetch import InvalidRequest, Reply, Request, UnusableReply
from freehold.composition.paths import fits_header, fits_path
from freehold.errors import ConfigurationError, MissingDriver, Unavailable

if TYPE_CHECKING:
    from aiohttp import ClientResponse, ClientSession

__all__ = ["HttpFetch"]

RESPONSE_BYTES_MAX: Final = 16 * 1024 * 1024
CONNECTIONS_MAX: Final = 256
_CHUNK_BYTES: Final = 256 * 1024


class HttpFetch:
    """Calls services at the base URLs `urls`, by name: `async with HttpFetch({"users": "http://users:80"})`.

    It opens its own connections, or uses the given `session`, which the caller closes. For one event loop. Raises
    `MissingDriver` without aiohttp, `ConfigurationError` for an invalid URL.
    """

    def __init__(
        self,
        urls: Mapping[str, str],
        *,
        session: ClientSession | None = None,
        response_bytes_max: int = RESPONSE_BYTES_MAX,
        connections_max: int = CONNECTIONS_MAX,
    ) -> None:
        try:
            import aiohttp
            import yarl
        except ModuleNotFoundError as error:
            raise MissingDriver("aiohttp", extra="composition") from error
        self._aiohttp = aiohttp
        self._url = yarl.URL
        self._urls = {service: self._address(service, url) for service, url in urls.items()}
        self._given = session
        self._session = session
        self._response_bytes_max = response_bytes_max
        self._connections_max = connections_max

    async def __aenter__(self) -> Self:
        """Return itself; connections are opened when they are needed."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close its own connections."""
        await self.close()

    async def __call__(self, request: Request) -> Reply:
        """Send the request. A cancellation closes the connection, so that the service can stop its work.

        Raises `Unavailable` if there is no response, `UnusableReply` if it is too large, `InvalidRequest` for a path or
        headers that cannot be sent, `ConfigurationError` for a service without a URL.
        """
        base = self._urls.get(request.service)
        if base is None:
            raise ConfigurationError(f"the service '{request.service}' has no URL", hint="add it to urls")
        if not fits_path(request.path):
            raise InvalidRequest(f"a path for '{request.service}' is not valid", hint="begin with / and quote keys")
        if not all(map(fits_header, request.headers.values())):
            raise InvalidRequest(f"a header for '{request.service}' is not valid", hint="it must be one line of text")
        # The path is quoted already; to quote it again would change the keys in it.
        url = self._url(base + request.path, encoded=True)
        try:
            async with self._opened().request(
                request.method,
                url,
                data=request.body,
                headers=request.headers,
                allow_redirects=False,
                # The client measures the time by its own clock, and cancels.
                timeout=self._aiohttp.ClientTimeout(total=None),
            ) as response:
                body = await self._body(request.service, response)
                headers = {name.lower(): value for name, value in response.headers.items()}
                return Reply(response.status, body, headers)
        except (self._aiohttp.InvalidURL, ValueError, TypeError) as error:
            # Raised before the request is sent: an error of the request, not of the service.
            raise InvalidRequest(
                f"a request to '{request.service}' cannot be sent", hint="check its path and headers"
            ) from error
        except (self._aiohttp.ClientError, OSError) as error:
            raise Unavailable(f"the service '{request.service}' cannot be reached", hint="is it running?") from error

    async def close(self) -> None:
        """Close its own connections; a later call opens new ones."""
        session, self._session = self._session, self._given
        if session is not None and session is not self._given:
            await session.close()

    def _address(self, service: str, url: str) -> str:
        try:
            parsed = self._url(url)
        except (ValueError, TypeError):
            parsed = None
        if parsed is None or parsed.scheme not in {"http", "https"} or not parsed.host:
            raise ConfigurationError(f"the URL of service '{service}' is not valid", hint="http://host:port")
        return url.rstrip("/")

    def _opened(self) -> ClientSession:
        if self._session is None:
            connector = self._aiohttp.TCPConnector(limit=self._connections_max)
            self._session = self._aiohttp.ClientSession(
                connector=connector, cookie_jar=self._aiohttp.DummyCookieJar(), auto_decompress=True
            )
        return self._session

    async def _body(self, service: str, response: ClientResponse) -> bytes:
        parts: list[bytes] = []
        size_bytes = 0
        async for part in response.content.iter_chunked(_CHUNK_BYTES):
            size_bytes += len(part)
            if size_bytes > self._response_bytes_max:
                response.close()
                raise UnusableReply(
                    f"the response of '{service}' is larger than {self._response_bytes_max} bytes", hint="request less"
                )
            parts.append(part)
        return b"".join(parts)
