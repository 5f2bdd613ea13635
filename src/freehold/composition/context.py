"""The contexts by which a source calls services: one for a part of a request, with budget and headers, and one for the
process. Imports the foundation and the modules of composition.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import msgspec

from freehold.clock import Clock
from freehold.composition.budget import Budget
from freehold.composition.cache import ReferenceCache
from freehold.composition.client import Client
from freehold.composition.fetch import CallFailed, Reason, Reply, Request
from freehold.composition.loader import Loader

__all__ = ["PartContext", "SharedContext"]

S = TypeVar("S")
_LOADERS_MAX: Final = 1_000
_OWN: Final = frozenset({"x-correlation-id", "traceparent", "tracestate"})


class SharedContext:
    """What all requests of a process share: the client with its breakers, caches, and loaders."""

    def __init__(self, client: Client, clock: Clock) -> None:
        self.client = client
        self.clock = clock
        self._caches: dict[Hashable, ReferenceCache[Any, Any]] = {}
        self._loaders: OrderedDict[Hashable, Loader[Any, Any]] = OrderedDict()

    def begin(self, budget: Budget, headers: Mapping[str, str] | None = None) -> PartContext:
        """The context of a new request; its headers are sent with every call."""
        return PartContext(self, budget, _Request(dict(headers or {})))

    def cache(
        self, owner: Hashable, make: Callable[[SharedContext], ReferenceCache[Any, Any]]
    ) -> ReferenceCache[Any, Any]:
        """The owner's cache, made at the first request."""
        found = self._caches.get(owner)
        if found is None:
            found = self._caches[owner] = make(self)
        return found

    def loader(self, owner: Hashable, make: Callable[[SharedContext], Loader[Any, Any]]) -> Loader[Any, Any]:
        """The owner's loader. The least recently used ones are dropped: a new one only splits a batch."""
        found = self._loaders.get(owner)
        if found is None:
            found = self._loaders[owner] = make(self)
            if len(self._loaders) > _LOADERS_MAX:
                self._loaders.popitem(last=False)
        self._loaders.move_to_end(owner)
        return found

    async def close(self) -> None:
        """Cancel fetches that run in the background."""
        for cache in self._caches.values():
            await cache.close()


@dataclass(slots=True)
class _Request:
    """What the parts of one request share."""

    headers: dict[str, str]
    replies: list[Mapping[str, str]] = field(default_factory=list)
    loaders: dict[Hashable, Loader[Any, Any]] = field(default_factory=dict)


class PartContext:
    """The context of one part: by it a source calls services."""

    def __init__(self, shared: SharedContext, budget: Budget, request: _Request) -> None:
        self.shared = shared
        self.budget = budget
        self.stale = False
        self._request = request

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers that are sent with every call."""
        return self._request.headers

    @property
    def replies(self) -> list[Mapping[str, str]]:
        """The headers of all replies so far, one mapping for each call."""
        return self._request.replies

    async def call(self, service: str, path: str, *, query: object = None, limit_seconds: float = 1.0) -> Reply:
        """GET, or POST of `query` as JSON if it is given. Returns a reply with a status below 500.

        Raises `CallFailed` if the service fails, does not respond in time, or must not be called now.
        """
        try:
            body = None if query is None else msgspec.json.encode(query)
        except ValueError as error:
            raise CallFailed(service, Reason.REFUSED, "the request cannot be sent") from error
        headers = {**self.headers, "accept": "application/json"}
        if body is not None:
            headers["content-type"] = "application/json"
        request = Request(service, "GET" if body is None else "POST", path, headers, body, limit_seconds)
        reply = await self.shared.client.call(request, self.budget)
        self.note(reply.headers)
        return reply

    def note(self, headers: Mapping[str, str]) -> None:
        """Keep a reply's headers: they are merged into those of the response."""
        self.replies.append(headers)

    def note_stale(self) -> None:
        """Mark the part as stale: it is past its time to live, and its source does not respond."""
        self.stale = True

    def of_part(self) -> PartContext:
        """The context of another part of the same request."""
        return PartContext(self.shared, self.budget, self._request)

    def loader(self, owner: Hashable, make: Callable[[PartContext], Loader[Any, Any]]) -> Loader[Any, Any]:
        """The owner's loader of this request."""
        found = self._request.loaders.get(owner)
        if found is None:
            found = self._request.loaders[owner] = make(self)
        return found

    def shareable_headers(self) -> dict[str, str]:
        """The headers that must be equal for two requests to share a call: all but those that identify a request."""
        return {name: value for name, value in self.headers.items() if name not in _OWN}
