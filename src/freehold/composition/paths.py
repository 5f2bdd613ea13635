"""Checks of keys, paths and headers before they are sent. Imports the standard library."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["fits_header", "fits_path", "is_key"]

_NOT_IN_KEYS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_NOT_IN_HEADERS: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")
_SENT_AS_IT_IS: Final = re.compile(r"/(?!/)(?:[A-Za-z0-9._~!$&'()*+,;=:@/?\[\]-]|%[0-9A-Fa-f]{2})*")


def is_key(key: str) -> bool:
    """Whether something may have this key: it is not empty, without control characters, and without half a surrogate
    pair.
    """
    return bool(key) and _NOT_IN_KEYS.search(key) is None


def fits_path(path: str) -> bool:
    """Whether a path with its query is quoted, and cannot name another host."""
    return _SENT_AS_IT_IS.fullmatch(path) is not None


def fits_header(value: str) -> bool:
    """Whether the value of a header is one line, without control characters and half surrogate pairs."""
    return _NOT_IN_HEADERS.search(value) is None
