"""What is said of an error where it is written down, for people. Foundation: imports its siblings.

Whatever the error is, the text can be stored by every engine and shown on every terminal: no NUL, no other control
character, no half of a surrogate pair, and a bound. An error that cannot be described is none that cannot be recorded.
"""

from __future__ import annotations

import re
from typing import Final

from freehold import origin

__all__ = ["TEXT_CHARACTERS_MAX", "describe", "name_of", "plain_text"]

TEXT_CHARACTERS_MAX: Final = 2000
_NAME_CHARACTERS_MAX: Final = 200
_UNSTORABLE: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def plain_text(text: str, characters_max: int = TEXT_CHARACTERS_MAX) -> str:
    """A text for people, cut off at a bound; what cannot be stored or shown everywhere is replaced."""
    return _UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", text[:characters_max])


def name_of(error: BaseException) -> str:
    """The name of an error's class."""
    return plain_text(type(error).__name__, _NAME_CHARACTERS_MAX)


def describe(error: BaseException) -> str:
    """What `freehold.origin.describe` tells of an error, as far as it can be told."""
    try:
        return plain_text(origin.describe(error))
    except Exception:  # noqa: BLE001 - a class of the user's own, whose text cannot be made
        return name_of(error)
