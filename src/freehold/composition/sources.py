"""Where a part comes from: one thing by its key, many by their keys in one call, or reference data from a cache.

A source is declared once and knows no request. Anything with `service` and `read` is one. Imports the foundation, the
codec and the modules of composition.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from math import isfinite
from typing import Any, Final, Generic, Protocol, TypeVar, cast
from urllib.parse import quote

import msgspec

from freehold.composition.ask import PartContext, SharedContext
from freehold.composition.budget import Budget
from freehold.composition.cache import CachePolicy, Freshness, ReferenceCache
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
    """Something that a service is asked for."""

    @property
    def service(self) -> str:
        """Who is asked."""

    async def read(self, ask: PartContext, key: K_contra) -> T_co | None:
        """What the service has under this key; None where there is no such thing. Raises `CallFailed`."""


@dataclass(frozen=True, eq=False)
class Read(Generic[T]):
    """One thing by its key: GET of `path`, in which `{key}` stands for it. 404 is None.

    So is a key that nothing can have: an empty one, and one with control characters or half a character of two. Nobody
    is asked for such.

    Raises `DeclarationError` for a path without `{key}`, or with another place in it.
    """

    service: str
    path: str
    kind: type[T]
    limit_seconds: float = LIMIT_SECONDS

    def __post_init__(self) -> None:
        """Check what is declared."""
        if [name for _, name, _, _ in string.Formatter().parse(self.path) if name is not None] != ["key"]:
            raise DeclarationError(f"the path '{self.path}' does not hold {{key}} once", hint='e.g. "/customers/{key}"')
        _check_limit(self.limit_seconds)

    async def read(self, ask: PartContext, key: str) -> T | None:
        """What the service has under this key. Raises `CallFailed`."""
        if not is_key(key):
            return None
        reply = await ask.call(
            self.service, self.path.format(key=quote(key, safe="")), limit_seconds=self.limit_seconds
        )
        if reply.status == 404:
            return None
        return _decoded(self.service, reply, self.kind)


@dataclass(frozen=True, eq=False)
class Batch(Generic[V]):
    """Many things by their keys in one call: POST of `{field: keys}` to `path`. Made by `batch` and `grouped_batch`.

    A key that nothing can have (see `Read`) is None, and does not go along. Within a request a key is asked for once,
    whoever asks. With `window_seconds`, requests that differ in nothing but
    their trace share calls: these have the source's own limit, and no trace.
    """

    service: str
    path: str
    field: str
    arrange: Callable[[Reply], Mapping[str, V]]
    size_max: int = 500
    limit_seconds: float = LIMIT_SECONDS
    window_seconds: float = 0.0

    def __post_init__(self) -> None:
        """Check what is declared."""
        _check_limit(self.limit_seconds)
        Loader(_load_nothing, size_max=self.size_max, window_seconds=self.window_seconds)

    async def read(self, ask: PartContext, key: Iterable[str]) -> dict[str, V | None]:
        """What the service has under each of the keys, None where there is none. Raises `CallFailed`."""
        keys = list(dict.fromkeys(key))
        wanted = [each for each in keys if is_key(each)]
        found = await self._read_wanted(ask, wanted) if wanted else {}
        return {each: found.get(each) for each in keys}

    async def _read_wanted(self, ask: PartContext, keys: Sequence[str]) -> dict[str, V | None]:
        if self.window_seconds:
            try:
                return await self._read_shared(ask, keys)
            except CallFailed as error:
                # Keys of others may be what was refused: these are asked for once more by themselves.
                if error.reason is not Reason.REFUSED:
                    raise
        loader: Loader[str, V] = ask.loader(self, self._own_loader)
        return await loader.load_all(keys)

    def _own_loader(self, ask: PartContext) -> Loader[str, V]:
        async def load(keys: Sequence[str]) -> Mapping[str, V]:
            return self.arrange(await self._reply(ask, keys))

        return Loader(load, size_max=self.size_max, remember=True, clock=ask.desk.clock)

    async def _read_shared(self, ask: PartContext, keys: Sequence[str]) -> dict[str, V | None]:
        headers = ask.shareable_headers()
        owner: Hashable = (self, tuple(sorted(headers.items())))
        loader: Loader[str, _Shared[V]] = ask.desk.loader(owner, lambda desk: self._shared_loader(desk, headers))
        found = await loader.load_all(keys)
        for reply in {id(each.headers): each.headers for each in found.values() if each is not None}.values():
            ask.note(reply)
        return {key: each.value if each is not None else None for key, each in found.items()}

    def _shared_loader(self, desk: SharedContext, headers: Mapping[str, str]) -> Loader[str, _Shared[V]]:
        async def load(keys: Sequence[str]) -> Mapping[str, _Shared[V]]:
            reply = await self._reply(desk.ask(Budget(self.limit_seconds, desk.clock), headers), keys)
            found = self.arrange(reply)
            return {key: _Shared(found.get(key), reply.headers) for key in keys}

        return Loader(load, size_max=self.size_max, window_seconds=self.window_seconds, clock=desk.clock)

    async def _reply(self, ask: PartContext, keys: Sequence[str]) -> Reply:
        return await ask.call(self.service, self.path, query={self.field: keys}, limit_seconds=self.limit_seconds)


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
    """A batch whose answer is a list of rows, at most one for a key."""

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
    """A batch whose answer is a list of rows, any number for a key; they keep their order."""

    def arrange(reply: Reply) -> Mapping[str, list[V]]:
        groups: dict[str, list[V]] = {}
        for each in _decoded(service, reply, _list_of(row)):
            groups.setdefault(key(each), []).append(each)
        return groups

    return Batch(service, path, field, arrange, size_max, limit_seconds, window_seconds)


@dataclass(frozen=True, eq=False)
class Reference(Generic[T]):
    """Reference data: read through a cache that all requests share. The request's headers do not go along."""

    source: Source[str, T]
    policy: CachePolicy = field(default_factory=CachePolicy)

    @property
    def service(self) -> str:
        """Who is asked."""
        return self.source.service

    async def read(self, ask: PartContext, key: str) -> T | None:
        """What the cache has, or its source. Raises `CallFailed`; marks the part where it is past its time."""
        cached: ReferenceCache[str, T] = ask.desk.cache(self, self._cache)
        try:
            found = await cached.get(key)
        except CallFailed:
            raise
        except OperationTimeout as error:
            raise CallFailed(self.service, Reason.TIMEOUT) from error
        except Unavailable as error:
            raise CallFailed(self.service, Reason.UNAVAILABLE) from error
        if found.freshness is Freshness.STALE_ON_ERROR:
            ask.note_stale()
        return found.value

    def _cache(self, desk: SharedContext) -> ReferenceCache[str, T]:
        async def load(key: str) -> T | None:
            return await self.source.read(desk.ask(Budget(self.policy.load_seconds, desk.clock)), key)

        return ReferenceCache(load, self.policy, clock=desk.clock)


async def _load_nothing(_keys: Sequence[str]) -> Mapping[str, Any]:
    return {}


def _check_limit(limit_seconds: float) -> None:
    if not (isfinite(limit_seconds) and limit_seconds > 0):
        raise DeclarationError("a call needs some time", hint="limit_seconds is a finite number greater than 0")


def _list_of(row: type[V]) -> type[list[V]]:
    return list[row]  # type: ignore[valid-type]  # the decoder takes the type at run time


@cache
def _decoder(kind: Hashable) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind)


def _decoded(service: str, reply: Reply, kind: type[T]) -> T:
    """The reply as a `kind`. Raises `CallFailed` where it is none; what stands in it is nobody's business."""
    if reply.status != 200:
        raise CallFailed(service, Reason.REFUSED, f"it answered {reply.status}", status=reply.status)
    try:
        found: T = _decoder(cast("Hashable", kind)).decode(reply.body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise CallFailed(service, Reason.REFUSED, "its answer cannot be read") from None
    return found
