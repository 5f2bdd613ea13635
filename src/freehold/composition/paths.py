"""Which keys nothing can have, and which paths and headers can be sent as they are. Imports the standard library."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["fits_header", "fits_path", "is_key"]

_NOT_IN_KEYS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_NOT_IN_HEADERS: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")
_SENT_AS_IT_IS: Final = re.compile(r"/(?!/)(?:[A-Za-z0-9._~!$&'()*+,;=:@/?\[\]-]|%[0-9A-Fa-f]{2})*")


def is_key(key: str) -> bool:
    """Whether something may have this key: there is none without a character, with control characters, or with half a
    character of two.
    """
    return bool(key) and _NOT_IN_KEYS.search(key) is None


def fits_path(path: str) -> bool:
    """Whether a path with its query is quoted, and stays on the host that it is sent to."""
    return _SENT_AS_IT_IS.fullmatch(path) is not None


def fits_header(value: str) -> bool:
    """Whether the value of a header is one line of whole characters."""
    return _NOT_IN_HEADERS.search(value) is None
