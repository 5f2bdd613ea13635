"""The checks of keys, names and headers, and of characters that some engine cannot store. Imports the foundation."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from freehold.errors import InvalidValue
from freehold.messages.checks import parts_of, path_of

__all__ = ["CONTROL", "HEADER_BYTES_MAX", "NAME_BYTES_MAX", "check_headers", "check_name", "unstorable_text"]

NAME_BYTES_MAX: Final = 512
"""Maximum size of a key or a name, in UTF-8: databases index them, and an index entry has a limit."""

HEADER_BYTES_MAX: Final = 16 * 1024
"""Maximum size of a header's text, in UTF-8."""

CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
"""Characters that keys, names and headers must not contain: control characters and UTF-16 surrogates."""

_UNSTORABLE: Final = re.compile(r"[\x00\ud800-\udfff]")


def check_name(field: str, text: object, *, bytes_max: int = NAME_BYTES_MAX, of: str = "") -> str:
    """Return a key or a name if it is valid: text that is not empty, has no control characters, and is not too long.

    `field` names it in the error, and `of` what it belongs to. Raises `InvalidValue`.
    """
    if not isinstance(text, str):
        raise InvalidValue(field, f"must be str, and is {type(text).__name__}", of=of)
    if not text:
        raise InvalidValue(field, "must not be empty", of=of)
    if len(text) <= bytes_max and text.isascii() and text.isprintable():
        return text
    if CONTROL.search(text):
        raise InvalidValue(field, "must not contain control characters", of=of, hint="send printable text")
    if len(text.encode()) > bytes_max:
        raise InvalidValue(field, f"must be at most {bytes_max} bytes", of=of, hint="send a digest")
    return text


def check_headers(headers: object, *, of: str = "") -> dict[str, str]:
    """Return a checked copy of headers, texts by name. Raises `InvalidValue`."""
    if not isinstance(headers, Mapping):
        raise InvalidValue("headers", f"must be a mapping, and is {type(headers).__name__}", of=of)
    for name, text in headers.items():
        check_name("headers", name, of=of)
        if text != "":
            check_name(f"headers[{name}]", text, bytes_max=HEADER_BYTES_MAX, of=of)
    return dict(headers)


def unstorable_text(value: object) -> str | None:
    """Return the path of a text in a value with a character that some engine cannot store; None where there is none.

    This is slow. It is called only if the encoded value may contain such a character.
    """
    pending: list[tuple[tuple[str, ...], object]] = [((), value)]
    while pending:
        places, each = pending.pop()
        if isinstance(each, str):
            if _UNSTORABLE.search(each):
                return path_of(places)
        else:
            pending.extend(((*places, place), part) for place, part in parts_of(each))
    return None
