"""Values that a service gives out: checked before they are written, so that nobody is sent what cannot be read.

Imports the codec, the checkers and the foundation. Everything here raises `InvalidValue`, which names the field and
what is wrong with it, never what is there. What comes in from outside is read by `decode_body` as ever.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final
from uuid import UUID

from freehold.errors import InvalidValue
from freehold.messages.checkers import Checker, checker_of
from freehold.messages.checks import LEAVES, Misfit
from freehold.messages.codec import BODY_BYTES_MAX, UNENCODABLE, UNREADABLE, decoder_of, encoder, misfit_of
from freehold.messages.texts import unstorable_text

__all__ = ["DELAY_SECONDS_MAX", "check_delay", "check_id", "check_moment", "encode_checked"]

DELAY_SECONDS_MAX: Final = 100 * 366 * 86_400.0
"""The longest delay of a scheduled message: a hundred years."""


_NO_NUL: Final = "must hold no NUL and no half of a surrogate pair"
_NUL: Final = b"\\u0000"


def encode_checked(value: object, *, of: str) -> bytes:
    """Return a declared message, an answer or a state as JSON that its class will read, and every engine can keep.

    Each field holds what its annotation says; numbers are finite, whole ones fit 64 bits; times have a zone; texts hold
    no NUL and no half of a surrogate pair; the whole is not nested too deep and not too large. `of` says in the error
    whose fields they are. Raises `InvalidValue`.
    """
    checker = checker_of(type(value))
    try:
        if not _fits(checker, value):
            checker.check(value)
        body = encoder.encode(value)
    except Misfit as misfit:
        raise InvalidValue(misfit.field or "value", misfit.reason, of=_unfit(value, of)) from None
    except UNENCODABLE:
        raise _unencodable(value, of) from None
    if len(body) > BODY_BYTES_MAX:
        hint = "store the payload and send a reference to it"
        raise InvalidValue("value", f"must be at most {BODY_BYTES_MAX} bytes", of=_unfit(value, of), hint=hint)
    if _NUL in body:
        place = unstorable_text(value)
        if place is not None:
            raise InvalidValue(place or "value", _NO_NUL, of=_unfit(value, of))
    if checker.read_back:
        _read_back(value, body, of)
    return body


def check_id(field: str, value: object) -> UUID:
    """Return an id, if it is one. Raises `InvalidValue`."""
    if not isinstance(value, UUID):
        raise InvalidValue(field, f"must be UUID, and is {type(value).__name__}")
    return value


def check_delay(field: str, seconds: object) -> None:
    """Raise `InvalidValue` for what is no delay: below 0, beyond `DELAY_SECONDS_MAX`, not a number."""
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise InvalidValue(field, f"must be a number of seconds, and is {type(seconds).__name__}")
    if not 0 <= seconds <= DELAY_SECONDS_MAX:
        raise InvalidValue(field, f"must be from 0 to {DELAY_SECONDS_MAX:.0f}")


def check_moment(field: str, moment: object) -> None:
    """Raise `InvalidValue` for what is no time with a zone."""
    try:
        LEAVES[datetime](moment)
    except Misfit as misfit:
        raise InvalidValue(field, misfit.reason, hint="datetime.now(UTC) + ...") from None


def _fits(checker: Checker, value: object) -> bool:
    try:
        return checker.fits(value)
    except (Misfit, AttributeError):
        return False


def _unencodable(value: object, of: str) -> InvalidValue:
    place = unstorable_text(value)
    if place is not None:
        return InvalidValue(place or "value", _NO_NUL, of=_unfit(value, of))
    return InvalidValue(
        "value", "must be what JSON can hold", of=_unfit(value, of), hint="plain dataclasses, collections and numbers"
    )


def _read_back(value: object, body: bytes, of: str) -> None:
    """Have the codec's own rules hold: bounds in annotations, types that the checkers do not know."""
    try:
        decoder_of(type(value)).decode(body)
    except UNREADABLE as error:
        place, reason = misfit_of(error)
        raise InvalidValue(place or "value", reason, of=_unfit(value, of)) from None


def _unfit(value: object, of: str) -> str:
    return f"'{of}' does not fit {type(value).__name__}"
