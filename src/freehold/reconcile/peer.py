"""A dataset at its source, asked over HTTP, and what goes over the wire. Pattern: imports its package, tokens and the
standard library.

Requests are few and far between, so they run in a thread, on a connection of their own each, with a time limit.
Redirects are not followed: the proof of who asks would go along to wherever they lead.
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
from freehold.reconcile.dataset import Dataset, RangeDigest, RowDigest
from freehold.reconcile.side import FullRow

__all__ = ["PEER_HEADER", "DatasetQuery", "HttpSource", "peer_proof"]

T = TypeVar("T")
PEER_HEADER: Final = "Freehold-Peer"
_LIMIT_MAX: Final = 50_000
_KEYS_MAX: Final = 10_000
_TIMEOUT_SECONDS: Final = 30.0
_WHOLE_SECONDS: Final = 60.0
_BYTES_MAX: Final = 64 * 1024 * 1024


class DatasetQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which rows of a dataset: a range of keys, or keys. `key`, `fields` and `kinds` are what the replica takes it to
    be.

    More than is answered at a time is refused, never cut off: rows left out would look like rows that are not there.
    """

    key: str
    fields: tuple[str, ...]
    after: str = ""
    through: str | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=_LIMIT_MAX)] = 1
    keys: Annotated[tuple[str, ...], msgspec.Meta(max_length=_KEYS_MAX)] = ()
    kinds: dict[str, str] = msgspec.field(default_factory=dict)


def peer_proof(secret: str) -> str:
    """What shows that a request comes from a service of the same system."""
    return hmac.new(secret.encode(), b"freehold peer", hashlib.sha256).hexdigest()


class _Barrier(msgspec.Struct):
    token: str


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """None: the redirect is the answer."""


_opener: Final = urllib.request.build_opener(_NoRedirects)


class HttpSource:
    """The source of a dataset behind its service's own API. Raises `Unavailable`, `ConfigurationError`."""

    def __init__(self, dataset: Dataset, url: str, secret: str) -> None:
        if urllib.parse.urlsplit(url).scheme not in {"http", "https"}:
            raise ConfigurationError(f"the peer '{dataset.service}' has no http address", hint="http://host:port")
        self._dataset = dataset
        self._base = f"{url.rstrip('/')}/freehold/datasets/{dataset.name}"
        self._proof = peer_proof(secret)

    async def digest(self, after: str, through: str | None, limit: int) -> RangeDigest:
        """Ask for the digest of a range."""
        return await self._ask("digest", self._query(after, through, limit), RangeDigest)

    async def keys(self, after: str, through: str | None, limit: int) -> Sequence[RowDigest]:
        """Ask for the rows' digests."""
        return await self._ask("keys", self._query(after, through, limit), list[RowDigest])

    async def rows(self, keys: Sequence[str]) -> Sequence[FullRow]:
        """Ask for rows."""
        rows = await self._ask("rows", self._query(keys=tuple(keys)), list[list[Any]])
        return [tuple(row) for row in rows]

    async def publish_barrier(self) -> ConsistencyToken:
        """Have a barrier published."""
        answer = await self._ask("barrier", self._query(), _Barrier)
        try:
            return ConsistencyToken.parse(answer.token)
        except CodecError as error:
            raise self._strange() from error

    def _query(
        self, after: str = "", through: str | None = None, limit: int = 1, keys: tuple[str, ...] = ()
    ) -> DatasetQuery:
        kinds = {name: str(kind) for name, kind in self._dataset.kinds.items()}
        return DatasetQuery(self._dataset.key, self._dataset.fields, after, through, limit, keys, kinds)

    async def _ask(self, what: str, query: DatasetQuery, kind: type[T]) -> T:
        try:
            async with asyncio.timeout(_WHOLE_SECONDS):
                body = await asyncio.to_thread(self._post, what, msgspec.json.encode(query))
        except TimeoutError as error:
            raise Unavailable(f"'{self._dataset.service}' does not answer in time", hint="is it overloaded?") from error
        try:
            return msgspec.json.decode(body, type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise self._strange() from error

    def _post(self, what: str, body: bytes) -> bytes:
        headers = {PEER_HEADER: self._proof, "Content-Type": "application/json"}
        request = urllib.request.Request(f"{self._base}/{what}", body, headers, method="POST")  # noqa: S310 - http only
        try:
            with _opener.open(request, timeout=_TIMEOUT_SECONDS) as answer:
                return bytes(answer.read(_BYTES_MAX))
        except urllib.error.HTTPError as error:
            with error:
                raise self._refused(error.code) from error
        except http.client.HTTPException as error:
            raise self._strange() from error
        except OSError as error:
            raise Unavailable(f"'{self._dataset.service}' does not answer", hint="is it running?") from error

    def _strange(self) -> Unavailable:
        return Unavailable(f"'{self._dataset.service}' gave an answer that is none", hint="is it the peer?")

    def _refused(self, status: int) -> Exception:
        name = self._dataset.name
        match status:
            case 403:
                return ConfigurationError(
                    f"'{self._dataset.service}' does not take this service for a peer", hint="one token_secret for all"
                )
            case 404:
                return ConfigurationError(
                    f"'{name}' is not published", hint=f"{self._dataset.service}.publishes_dataset(…)"
                )
            case 409:
                return ConfigurationError(
                    f"'{name}' has other fields at '{self._dataset.service}'", hint="release both with the same Dataset"
                )
            case 400 | 405 | 413 | 415 | 422:
                return ConfigurationError(
                    f"'{self._dataset.service}' answered {status} when asked for '{name}'",
                    hint="release both with the same version of Freehold",
                )
            case _:
                return Unavailable(f"'{self._dataset.service}' answered {status} when asked for '{name}'")
