"""Sources of parts: one thing by its key, many things by their keys in one call, or reference data from a cache.

A source is declared once, independently of requests. Any object with `service` and `read` is a source. Imports the
foundation, the codec and the modules of composition.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from math import isfinite
from typing import Any, Final, Generic, Protocol, TypeVar, cast
from urllib.parse import quote

import msgspec

from freehold.composition.budget import Budget
from freehold.composition.cache import CachePolicy, Freshness, ReferenceCache
from freehold.composition.context import PartContext, SharedContext
from freehold.composition.fetch import CallFailed, Reason, Reply
from freehold.composition.loader import Loader
from freehold.composition.paths import is_key
from freehold.errors import DeclarationError, OperationTimeout, Unavailable

__all__ = ["Batch", "Read", "Reference", "Source", "batch", "grouped_batch"]

K_contra = TypeVar("K_contra", contravariant=True)
T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")
V = TypeVar("V")
LIMIT_SECONDS: Final = 1.0


class Source(Protocol[K_contra, T_co]):
    """The source of a part: reads from a service by key."""

    @property
    def service(self) -> str:
        """The service that is called."""

    async def read(self, context: PartContext, key: K_contra) -> T_co | None:
        """What the service has under this key; None if the key does not exist. Raises `CallFailed`."""


@dataclass(frozen=True, eq=False)
class Read(Generic[T]):
    """One thing by its key: GET of `path`, in which `{key}` is replaced. 404 is None.

    A key that cannot exist is None without a call: an empty one, and one with control characters or half a surrogate
    pair.

    Raises `DeclarationError` for a path without `{key}`, or with another placeholder.
    """

    service: str
    path: str
    kind: type[T]
    limit_seconds: float = LIMIT_SECONDS

    def __post_init__(self) -> None:
        """Check the declaration."""
        if [name for _, name, _, _ in string.Formatter().parse(self.path) if name is not None] != ["key"]:
            raise DeclarationError(f"the path '{self.path}' needs {{key}} once", hint='e.g. "/customers/{key}"')
        _check_limit(self.limit_seconds)

    async def read(self, context: PartContext, key: str) -> T | None:
        """What the service has under this key. Raises `CallFailed`."""
        if not is_key(key):
            return None
        reply = await context.call(
            self.service, self.path.format(key=quote(key, safe="")), limit_seconds=self.limit_seconds
        )
        if reply.status == 404:
            return None
        return _decoded(self.service, reply, self.kind)


@dataclass(frozen=True, eq=False)
class Batch(Generic[V]):
    """Many things by their keys in one call: POST of `{field: keys}` to `path`. Made by `batch` and `grouped_batch`.

    A key that cannot exist (see `Read`) is None, and is not sent. Within a request each key is sent once. With
    `window_seconds`, requests that differ only in their trace share calls, which have the source's own limit and no
    trace.
    """

    service: str
    path: str
    field: str
    arrange: Callable[[Reply], Mapping[str, V]]
    size_max: int = 500
    limit_seconds: float = LIMIT_SECONDS
    window_seconds: float = 0.0

    def __post_init__(self) -> None:
        """Check the declaration."""
        _check_limit(self.limit_seconds)
        Loader(_load_nothing, size_max=self.size_max, window_seconds=self.window_seconds)

    async def read(self, context: PartContext, key: Iterable[str]) -> dict[str, V | None]:
        """What the service has under each of the keys, None if the key does not exist. Raises `CallFailed`."""
        keys = list(dict.fromkeys(key))
        wanted = [each for each in keys if is_key(each)]
        found = await self._read_wanted(context, wanted) if wanted else {}
        return {each: found.get(each) for each in keys}

    async def _read_wanted(self, context: PartContext, keys: Sequence[str]) -> dict[str, V | None]:
        if self.window_seconds:
            try:
                return await self._read_shared(context, keys)
            except CallFailed as error:
                # A key of another request may be the one that was refused: send these keys again without others.
                if error.reason is not Reason.REFUSED:
                    raise
        loader: Loader[str, V] = context.loader(self, self._own_loader)
        return await loader.load_all(keys)

    def _own_loader(self, context: PartContext) -> Loader[str, V]:
        async def load(keys: Sequence[str]) -> Mapping[str, V]:
            return self.arrange(await self._reply(context, keys))

        return Loader(load, size_max=self.size_max, remember=True, clock=context.shared.clock)

    async def _read_shared(self, context: PartContext, keys: Sequence[str]) -> dict[str, V | None]:
        headers = context.shareable_headers()
        owner: Hashable = (self, tuple(sorted(headers.items())))
        loader: Loader[str, _Shared[V]] = context.shared.loader(owner, partial(self._shared_loader, headers))
        found = await loader.load_all(keys)
        for reply in {id(each.headers): each.headers for each in found.values() if each is not None}.values():
            context.note(reply)
        return {key: each.value if each is not None else None for key, each in found.items()}

    def _shared_loader(self, headers: Mapping[str, str], shared: SharedContext) -> Loader[str, _Shared[V]]:
        async def load(keys: Sequence[str]) -> Mapping[str, _Shared[V]]:
            reply = await self._reply(shared.begin(Budget(self.limit_seconds, shared.clock), headers), keys)
            found = self.arrange(reply)
            return {key: _Shared(found.get(key), reply.headers) for key in keys}

        return Loader(load, size_max=self.size_max, window_seconds=self.window_seconds, clock=shared.clock)

    async def _reply(self, context: PartContext, keys: Sequence[str]) -> Reply:
        return await context.call(self.service, self.path, query={self.field: keys}, limit_seconds=self.limit_seconds)


@dataclass(frozen=True, slots=True)
class _Shared(Generic[V]):
    value: V | None
    headers: Mapping[str, str]


def batch(
    service: str,
    path: str,
    row: type[V],
    *,
    field: str,
    key: Callable[[V], str],
    size_max: int = 500,
    limit_seconds: float = LIMIT_SECONDS,
    window_seconds: float = 0.0,
) -> Batch[V]:
    """A batch whose reply is a list of rows, at most one for a key."""

    def arrange(reply: Reply) -> Mapping[str, V]:
        return {key(each): each for each in _decoded(service, reply, _list_of(row))}

    return Batch(service, path, field, arrange, size_max, limit_seconds, window_seconds)


def grouped_batch(
    service: str,
    path: str,
    row: type[V],
    *,
    field: str,
    key: Callable[[V], str],
    size_max: int = 500,
    limit_seconds: float = LIMIT_SECONDS,
    window_seconds: float = 0.0,
) -> Batch[list[V]]:
    """A batch whose reply is a list of rows, any number for a key; they keep their order."""

    def arrange(reply: Reply) -> Mapping[str, list[V]]:
        groups: dict[str, list[V]] = {}
        for each in _decoded(service, reply, _list_of(row)):
            groups.setdefault(key(each), []).append(each)
        return groups

    return Batch(service, path, field, arrange, size_max, limit_seconds, window_seconds)


@dataclass(frozen=True, eq=False)
class Reference(Generic[T]):
    """Reference data, read through a cache that all requests share. The request's headers are not sent."""

    source: Source[str, T]
    policy: CachePolicy = field(default_factory=CachePolicy)

    @property
    def service(self) -> str:
        """The service that is called."""
        return self.source.service

    async def read(self, context: PartContext, key: str) -> T | None:
        """The value, from the cache or its source. Marks the part if the value is stale. Raises `CallFailed`."""
        cached: ReferenceCache[str, T] = context.shared.cache(self, self._cache)
        try:
            found = await cached.get(key)
        except CallFailed:
            raise
        except OperationTimeout as error:
            raise CallFailed(self.service, Reason.TIMEOUT) from error
        except Unavailable as error:
            raise CallFailed(self.service, Reason.UNAVAILABLE) from error
        if found.freshness is Freshness.STALE_ON_ERROR:
            context.note_stale()
        return found.value

    def _cache(self, shared: SharedContext) -> ReferenceCache[str, T]:
        async def load(key: str) -> T | None:
            return await self.source.read(shared.begin(Budget(self.policy.load_seconds, shared.clock)), key)

        return ReferenceCache(load, self.policy, clock=shared.clock)


async def _load_nothing(_keys: Sequence[str]) -> Mapping[str, Any]:
    return {}


def _check_limit(limit_seconds: float) -> None:
    if not (isfinite(limit_seconds) and limit_seconds > 0):
        raise DeclarationError("a call has no time limit", hint="limit_seconds is a finite number greater than 0")


def _list_of(row: type[V]) -> type[list[V]]:
    return list[row]  # type: ignore[valid-type]  # the decoder uses the type at run time


@cache
def _decoder(kind: Hashable) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind)


def _decoded(service: str, reply: Reply, kind: type[T]) -> T:
    """The reply, decoded as a `kind`. Raises `CallFailed` if that fails, without the content of the reply."""
    if reply.status != 200:
        raise CallFailed(service, Reason.REFUSED, f"its status was {reply.status}", status=reply.status)
    try:
        found: T = _decoder(cast("Hashable", kind)).decode(reply.body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise CallFailed(service, Reason.REFUSED, "its reply cannot be decoded") from None
    return found
