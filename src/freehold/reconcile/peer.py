"""The source of a dataset behind another service's API, and the messages of that API. Pattern: imports its package,
tokens and the standard library.

Requests are rare, so each runs in a thread, on a connection of its own, with a time limit. Redirects are not followed:
they would send the proof of a peer to another host.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import http.client
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from typing import Annotated, Any, Final, TypeVar

import msgspec

from freehold.consistency.token import ConsistencyToken
from freehold.errors import CodecError, ConfigurationError, Unavailable
from freehold.reconcile.dataset import Dataset, FullRow, RangeDigest, RowDigest

__all__ = ["PEER_HEADER", "DatasetQuery", "HttpSource", "peer_proof"]

T = TypeVar("T")
PEER_HEADER: Final = "Freehold-Peer"
_LIMIT_MAX: Final = 50_000
_KEYS_MAX: Final = 10_000
_TIMEOUT_SECONDS: Final = 30.0
_WHOLE_SECONDS: Final = 60.0
_BYTES_MAX: Final = 64 * 1024 * 1024


class DatasetQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which rows of a dataset to read: a range of keys, or single keys. `key`, `fields` and `kinds` are those that the
    replica declares.

    A query for too many rows is refused, never cut off: rows left out would look like missing rows.
    """

    key: str
    fields: tuple[str, ...]
    after: str = ""
    through: str | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=_LIMIT_MAX)] = 1
    keys: Annotated[tuple[str, ...], msgspec.Meta(max_length=_KEYS_MAX)] = ()
    kinds: dict[str, str] = msgspec.field(default_factory=dict)


def peer_proof(secret: str) -> str:
    """The proof that a request comes from a service of the same system."""
    return hmac.new(secret.encode(), b"freehold peer", hashlib.sha256).hexdigest()


class _Barrier(msgspec.Struct):
    token: str


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """Return None, so that the redirect itself is the response."""


_opener: Final = urllib.request.build_opener(_NoRedirects)


class HttpSource:
    """Reads a dataset through the API of its service. Raises `Unavailable`, `ConfigurationError`."""

    def __init__(self, dataset: Dataset, url: str, secret: str) -> None:
        if urllib.parse.urlsplit(url).scheme not in {"http", "https"}:
            raise ConfigurationError(
                f"the URL of the peer '{dataset.service}' is not an HTTP URL", hint="http://host:port"
            )
        self._dataset = dataset
        self._base = f"{url.rstrip('/')}/freehold/datasets/{dataset.name}"
        self._proof = peer_proof(secret)

    async def digest(self, after: str, through: str | None, limit: int) -> RangeDigest:
        """Request the digest of a range."""
        return await self._request("digest", self._query(after, through, limit), RangeDigest)

    async def keys(self, after: str, through: str | None, limit: int) -> Sequence[RowDigest]:
        """Request the rows' digests."""
        return await self._request("keys", self._query(after, through, limit), list[RowDigest])

    async def rows(self, keys: Sequence[str]) -> Sequence[FullRow]:
        """Request rows."""
        rows = await self._request("rows", self._query(keys=tuple(keys)), list[list[Any]])
        return [tuple(row) for row in rows]

    async def publish_barrier(self) -> ConsistencyToken:
        """Request that a barrier be published."""
        response = await self._request("barrier", self._query(), _Barrier)
        try:
            return ConsistencyToken.parse(response.token)
        except CodecError as error:
            raise self._invalid_response() from error

    def _query(
        self, after: str = "", through: str | None = None, limit: int = 1, keys: tuple[str, ...] = ()
    ) -> DatasetQuery:
        kinds = {name: str(kind) for name, kind in self._dataset.kinds.items()}
        return DatasetQuery(self._dataset.key, self._dataset.fields, after, through, limit, keys, kinds)

    async def _request(self, what: str, query: DatasetQuery, kind: type[T]) -> T:
        try:
            async with asyncio.timeout(_WHOLE_SECONDS):
                body = await asyncio.to_thread(self._post, what, msgspec.json.encode(query))
        except TimeoutError as error:
            raise Unavailable(
                f"'{self._dataset.service}' does not respond in time", hint="is it overloaded?"
            ) from error
        try:
            return msgspec.json.decode(body, type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise self._invalid_response() from error

    def _post(self, what: str, body: bytes) -> bytes:
        headers = {PEER_HEADER: self._proof, "Content-Type": "application/json"}
        request = urllib.request.Request(f"{self._base}/{what}", body, headers, method="POST")  # noqa: S310 - http only
        try:
            with _opener.open(request, timeout=_TIMEOUT_SECONDS) as response:
                return bytes(response.read(_BYTES_MAX))
        except urllib.error.HTTPError as error:
            with error:
                raise self._error_of(error.code) from error
        except http.client.HTTPException as error:
            raise self._invalid_response() from error
        except OSError as error:
            raise Unavailable(f"'{self._dataset.service}' does not respond", hint="is it running?") from error

    def _invalid_response(self) -> Unavailable:
        return Unavailable(f"'{self._dataset.service}' gave an invalid response", hint="is the peer's URL right?")

    def _error_of(self, status: int) -> Exception:
        name = self._dataset.name
        match status:
            case 403:
                return ConfigurationError(
                    f"'{self._dataset.service}' does not accept this service as a peer",
                    hint="use one token_secret for all services",
                )
            case 404:
                return ConfigurationError(
                    f"'{name}' is not published", hint=f"{self._dataset.service}.publishes_dataset(…)"
                )
            case 409:
                return ConfigurationError(
                    f"'{name}' has other fields at '{self._dataset.service}'", hint="deploy both with the same Dataset"
                )
            case 400 | 405 | 413 | 415 | 422:
                return ConfigurationError(
                    f"'{self._dataset.service}' responded with {status} for '{name}'",
                    hint="deploy both with the same version of Freehold",
                )
            case _:
                return Unavailable(f"'{self._dataset.service}' responded with {status} for '{name}'")
