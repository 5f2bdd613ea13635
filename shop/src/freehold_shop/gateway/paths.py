"""The check that no path of a request has a segment `.` or `..`, however it is encoded.

Clients, proxies and servers resolve such a segment at different points: some after decoding once or twice, some after
cutting off parameters. So each may see another path. Imports Starlette's types and the shop's problems.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote, unquote

from starlette.types import ASGIApp, Receive, Scope, Send

from freehold.http import problem

__all__ = ["PathMiddleware", "has_dot_segment"]

_DECODINGS_MAX: Final = 4
_SEPARATORS: Final = re.compile(r"[/\\]")


def has_dot_segment(path: str) -> bool:
    """Whether a path has `.` or `..` as a segment, as it is or after decoding it once or several times."""
    for _ in range(_DECODINGS_MAX):
        if any(segment.partition(";")[0] in {".", ".."} for segment in _SEPARATORS.split(path)):
            return True
        decoded = unquote(path, errors="replace")
        if decoded == path:
            return False
        path = decoded
    return True


class PathMiddleware:
    """Answers 400 to a path with dot segments, before routing."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] == "http" and _is_odd(scope):
            refusal = problem(400, "a path must not have the segments . and ..", code="dot-segments")
            await refusal(scope, receive, send)
            return
        await self._app(scope, receive, send)


def _is_odd(scope: Scope) -> bool:
    path: str = scope["path"]
    if "." not in path and "%" not in path:
        return False
    raw: bytes = scope.get("raw_path") or quote(path).encode("ascii")
    return has_dot_segment(raw.decode("latin-1")) or has_dot_segment(path)
