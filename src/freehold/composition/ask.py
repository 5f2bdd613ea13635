"""What a source asks with: the calls of one request, with its budget and headers, and what outlives the request.

Imports the foundation and the modules of composition.
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
from freehold.composition.caller import Caller
from freehold.composition.fetch import CallFailed, Reason, Reply, Request
from freehold.composition.loader import Loader

__all__ = ["PartContext", "SharedContext"]

S = TypeVar("S")
_LOADERS_MAX: Final = 1_000
_OWN: Final = frozenset({"x-correlation-id", "traceparent", "tracestate"})


class SharedContext:
    """What all requests of a process share: the caller with its breakers, caches, and loaders that still collect."""

    def __init__(self, caller: Caller, clock: Clock) -> None:
        self.caller = caller
        self.clock = clock
        self._caches: dict[Hashable, ReferenceCache[Any, Any]] = {}
        self._loaders: OrderedDict[Hashable, Loader[Any, Any]] = OrderedDict()

    def ask(self, budget: Budget, headers: Mapping[str, str] | None = None) -> PartContext:
        """Begin asking within the budget; the headers go along with every call."""
        return PartContext(self, budget, _Request(dict(headers or {})))

    def cache(
        self, owner: Hashable, make: Callable[[SharedContext], ReferenceCache[Any, Any]]
    ) -> ReferenceCache[Any, Any]:
        """The owner's cache, made when it is first asked for."""
        found = self._caches.get(owner)
        if found is None:
            found = self._caches[owner] = make(self)
        return found

    def loader(self, owner: Hashable, make: Callable[[SharedContext], Loader[Any, Any]]) -> Loader[Any, Any]:
        """The owner's loader; one that was not used for long is made again, which only divides a batch."""
        found = self._loaders.get(owner)
        if found is None:
            found = self._loaders[owner] = make(self)
            if len(self._loaders) > _LOADERS_MAX:
                self._loaders.popitem(last=False)
        self._loaders.move_to_end(owner)
        return found

    async def close(self) -> None:
        """End what goes on behind answers."""
        for cache in self._caches.values():
            await cache.close()


@dataclass(slots=True)
class _Request:
    """What the parts of one request share."""

    headers: dict[str, str]
    replies: list[Mapping[str, str]] = field(default_factory=list)
    loaders: dict[Hashable, Loader[Any, Any]] = field(default_factory=dict)


class PartContext:
    """One part's way to the services."""

    def __init__(self, desk: SharedContext, budget: Budget, request: _Request) -> None:
        self.desk = desk
        self.budget = budget
        self.stale = False
        self._request = request

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers that go along with every call."""
        return self._request.headers

    @property
    def replies(self) -> list[Mapping[str, str]]:
        """The headers of all replies so far, by call."""
        return self._request.replies

    async def call(self, service: str, path: str, *, query: object = None, limit_seconds: float = 1.0) -> Reply:
        """GET, or POST of `query` as JSON where it is given. Returns a reply below 500.

        Raises `CallFailed` where the service does not answer in time, cannot, or is not to be called just now.
        """
        try:
            body = None if query is None else msgspec.json.encode(query)
        except ValueError as error:
            raise CallFailed(service, Reason.REFUSED, "it cannot be asked that") from error
        headers = {**self.headers, "accept": "application/json"}
        if body is not None:
            headers["content-type"] = "application/json"
        request = Request(service, "GET" if body is None else "POST", path, headers, body, limit_seconds)
        reply = await self.desk.caller.call(request, self.budget)
        self.note(reply.headers)
        return reply

    def note(self, headers: Mapping[str, str]) -> None:
        """Remember a reply's headers: they are merged into the answer's."""
        self.replies.append(headers)

    def note_stale(self) -> None:
        """Mark the part: it is past its time, and its source does not answer."""
        self.stale = True

    def of_part(self) -> PartContext:
        """The same request, for another part."""
        return PartContext(self.desk, self.budget, self._request)

    def loader(self, owner: Hashable, make: Callable[[PartContext], Loader[Any, Any]]) -> Loader[Any, Any]:
        """The owner's loader of this request."""
        found = self._request.loaders.get(owner)
        if found is None:
            found = self._request.loaders[owner] = make(self)
        return found

    def shareable_headers(self) -> dict[str, str]:
        """The headers that two requests must agree on to share a call: all but those that name a request."""
        return {name: value for name, value in self.headers.items() if name not in _OWN}
