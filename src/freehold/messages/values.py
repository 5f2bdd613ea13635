"""The checks of values that a service sends or stores, so that every reader can decode them.

Imports the codec, the checkers and the foundation. Everything here raises `InvalidValue`, which names the field and the
reason, and never contains the value. Received values are not checked here: `decode_body` decodes them.
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


_NO_NUL: Final = "must not contain NUL or a UTF-16 surrogate"
_NUL: Final = b"\\u0000"


def encode_checked(value: object, *, of: str) -> bytes:
    """Return a declared message, a reply or a state as JSON that its class can decode and every engine can store.

    Each field must fit its annotation. Numbers must be finite, integers must fit 64 bits, times must have a time zone,
    texts must not contain NUL or UTF-16 surrogates, and the value must not be too large or nested too deeply. `of`
    names the owner of the fields in the error. Raises `InvalidValue`.
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
    """Return the value if it is a UUID. Raises `InvalidValue`."""
    if not isinstance(value, UUID):
        raise InvalidValue(field, f"must be UUID, and is {type(value).__name__}")
    return value


def check_delay(field: str, seconds: object) -> None:
    """Check that a delay is a number from 0 to `DELAY_SECONDS_MAX`. Raises `InvalidValue`."""
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise InvalidValue(field, f"must be a number of seconds, and is {type(seconds).__name__}")
    if not 0 <= seconds <= DELAY_SECONDS_MAX:
        raise InvalidValue(field, f"must be from 0 to {DELAY_SECONDS_MAX:.0f}")


def check_moment(field: str, moment: object) -> None:
    """Check that a value is a time with a time zone. Raises `InvalidValue`."""
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
        "value", "must be encodable as JSON", of=_unfit(value, of), hint="use dataclasses, collections and numbers"
    )


def _read_back(value: object, body: bytes, of: str) -> None:
    """Apply the codec's own rules: bounds in annotations, and types that the checkers do not know."""
    try:
        decoder_of(type(value)).decode(body)
    except UNREADABLE as error:
        place, reason = misfit_of(error)
        raise InvalidValue(place or "value", reason, of=_unfit(value, of)) from None


def _unfit(value: object, of: str) -> str:
    return f"'{of}' does not fit {type(value).__name__}"
