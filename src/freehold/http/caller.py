"""The scope of an Idempotency-Key: the same key of two callers means two different things. Imports Starlette.

A key is unique for one caller, method and path. The application identifies the caller (`caller=`). Without that, a
caller is identified by the `Authorization` header or, if there is none, by the session cookie. Requests with neither
share their keys. Only digests are stored, never what identifies a caller.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Awaitable, Callable, Collection
from typing import Final

from starlette.requests import Request
from starlette.types import Scope

from freehold.errors import DeclarationError

__all__ = ["SESSION_COOKIES", "Caller", "Callers"]

Caller = Callable[[Request], object]
"""Returns a stable id of the user who sends a request, or None if there is none; may be `async`."""
SESSION_COOKIES: Final = ("session", "sessionid", "session_id", "sid", "auth", "access_token", "fastapiusersauth")
_PREFIXES: Final = ("__host-", "__secure-")


class Callers:
    """Identifies callers, by `caller` or by headers. Raises `DeclarationError` for wrong arguments."""

    def __init__(self, caller: Caller | None = None, session_cookies: Collection[str] = SESSION_COOKIES) -> None:
        if caller is not None and not callable(caller):
            raise DeclarationError("caller= is not a function", hint="caller=lambda request: request.state.user_id")
        if isinstance(session_cookies, str):
            raise DeclarationError("session_cookies is a text, not a collection", hint='session_cookies=("session",)')
        self._caller = caller
        self._cookies = frozenset(name.lower() for name in session_cookies)

    async def scope_of(self, scope: Scope, service: str) -> str:
        """The scope of a request's key: the same for each request of one caller to one method and path.

        Raises the errors of `caller`.
        """
        kind, identity = await self._identity(Request(scope))
        digest = hashlib.sha256()
        for part in (scope["method"], scope["path"], kind, *identity):
            encoded = part.encode("utf-8", "surrogatepass")
            digest.update(len(encoded).to_bytes(8))
            digest.update(encoded)
        return f"{service}:http:{digest.hexdigest()}"

    async def _identity(self, request: Request) -> tuple[str, tuple[str, ...]]:
        if self._caller is not None:
            found = self._caller(request)
            if inspect.isawaitable(found):
                found = await _awaited(found)
            if found is not None and str(found):
                return "caller", (str(found),)
        authorization = tuple(request.headers.getlist("authorization"))
        if any(authorization):
            return "authorization", authorization
        cookies = sorted((name, value) for name, value in request.cookies.items() if self._is_session(name) and value)
        if cookies:
            return "cookie", tuple(part for cookie in cookies for part in cookie)
        return "nobody", ()

    def _is_session(self, name: str) -> bool:
        name = name.lower()
        return name in self._cookies or any(name.removeprefix(prefix) in self._cookies for prefix in _PREFIXES)


async def _awaited(found: Awaitable[object]) -> object:
    return await found
