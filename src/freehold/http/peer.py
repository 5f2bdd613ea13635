"""A dataset at its source, asked over HTTP. Runtime: imports reconciliation and the standard library.

Requests are few and far between, so they run in a thread, on a connection of their own each, with a time limit.
"""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from typing import Any, Final, TypeVar

import msgspec

from freehold.consistency.token import Token
from freehold.errors import ConfigurationError, Unavailable
from freehold.http.datasets import PEER_HEADER, DatasetQuery, peer_proof
from freehold.reconcile.dataset import Dataset, RangeDigest, RowDigest
from freehold.reconcile.side import FullRow

__all__ = ["HttpSource"]

T = TypeVar("T")
_TIMEOUT_SECONDS: Final = 30.0
_BYTES_MAX: Final = 64 * 1024 * 1024


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
        return await self._ask("digest", DatasetQuery(after, through, limit), RangeDigest)

    async def keys(self, after: str, through: str | None, limit: int) -> Sequence[RowDigest]:
        """Ask for the rows' digests."""
        return await self._ask("keys", DatasetQuery(after, through, limit), list[RowDigest])

    async def rows(self, keys: Sequence[str]) -> Sequence[FullRow]:
        """Ask for rows."""
        rows = await self._ask("rows", DatasetQuery(keys=tuple(keys)), list[list[Any]])
        return [tuple(row) for row in rows]

    async def fence(self) -> Token:
        """Have a mark published."""
        answer = await self._ask("fence", DatasetQuery(), dict[str, str])
        return Token.parse(answer["token"])

    async def _ask(self, what: str, query: DatasetQuery, kind: type[T]) -> T:
        body = await asyncio.to_thread(self._post, what, msgspec.json.encode(query))
        try:
            return msgspec.json.decode(body, type=kind)
        except msgspec.MsgspecError as error:
            raise Unavailable(
                f"'{self._dataset.service}' gave an answer that is none", hint="is it the peer?"
            ) from error

    def _post(self, what: str, body: bytes) -> bytes:
        headers = {PEER_HEADER: self._proof, "Content-Type": "application/json"}
        request = urllib.request.Request(f"{self._base}/{what}", body, headers, method="POST")  # noqa: S310 - http only
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as answer:  # noqa: S310 - as above
                return bytes(answer.read(_BYTES_MAX))
        except urllib.error.HTTPError as error:
            with error:
                raise self._refused(error.code) from error
        except OSError as error:
            raise Unavailable(f"'{self._dataset.service}' does not answer", hint="is it running?") from error

    def _refused(self, status: int) -> Exception:
        name = self._dataset.name
        match status:
            case 403:
                return ConfigurationError(
                    f"'{self._dataset.service}' does not take this service for a peer", hint="one token_secret for all"
                )
            case 404:
                return ConfigurationError(f"'{name}' is not offered", hint=f"{self._dataset.service}.offers(…)")
            case _:
                return Unavailable(f"'{self._dataset.service}' answered {status} when asked for '{name}'")
