"""What is in a field, in one form for all engines. Pattern: imports errors only.

PostgreSQL gives back a time, SQLite the text that somebody wrote for it. A field whose `FieldKind` is declared is
turned into one text on both sides: that is compared, and that is what a repair brings to the other side.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from types import NoneType
from typing import Final

__all__ = ["PLAIN_TYPES", "FieldKind", "canonical"]

_EXPONENT_MAX: Final = 400
PLAIN_TYPES: Final = frozenset({str, int, bool, NoneType})


class FieldKind(StrEnum):
    """What a field holds. `PLAIN` are texts, whole numbers, and booleans: 0 and 1, where an engine has no others.

    time     a moment; one without a zone is UTC.
    date     a day.
    decimal  a number with a point, exact.
    float    a number of double precision.
    bytes    bytes.
    json     a document, whose spaces and order of names say nothing.
    """

    PLAIN = "plain"
    TIME = "time"
    DATE = "date"
    DECIMAL = "decimal"
    FLOAT = "float"
    BYTES = "bytes"
    JSON = "json"


def canonical(kind: FieldKind, value: object) -> object:
    """The value as it is compared: a text, a whole number, a boolean or None. Raises `ValueError` for what is none of
    the kind's; its text holds no value.
    """
    if value is None:
        return None
    try:
        return _READ[kind](value)
    except (TypeError, ValueError, OverflowError, InvalidOperation, RecursionError):
        raise ValueError(f"a {type(value).__name__}") from None


def _plain(value: object) -> object:
    if type(value) not in PLAIN_TYPES:
        raise TypeError
    return value


def _time(value: object) -> str:
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    if not isinstance(value, datetime):
        raise TypeError
    moment = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    return moment.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def _date(value: object) -> str:
    if isinstance(value, str):
        value = date.fromisoformat(value)
    if not isinstance(value, date) or isinstance(value, datetime):
        raise TypeError
    return value.isoformat()


def _decimal(value: object) -> str:
    """Digits without an exponent and without zeros that say nothing; a float as it is written shortest."""
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        raise TypeError
    number = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
    if number.is_nan():
        return "NaN"
    if number.is_infinite():
        return "Infinity" if number > 0 else "-Infinity"
    if not number:
        return "0"
    if abs(number.adjusted()) > _EXPONENT_MAX:
        whole = "".join(map(str, number.as_tuple().digits)).rstrip("0")
        return f"{'-' if number < 0 else ''}{whole}e{number.adjusted() - len(whole) + 1}"
    text = format(number, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _float(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError
    return repr(float(value) + 0.0)


def _bytes(value: object) -> str:
    if not isinstance(value, bytes | bytearray | memoryview):
        raise TypeError
    return "\\x" + bytes(value).hex()


def _json(value: object) -> str:
    if not isinstance(value, str | bytes):
        raise TypeError
    read = json.loads(value, parse_float=Decimal, parse_int=Decimal, parse_constant=_no_constant)
    return _written(read)


def _no_constant(_: str) -> object:
    raise ValueError


def _written(value: object) -> str:
    match value:
        case dict():
            pairs = sorted((str(name), _written(each)) for name, each in value.items())
            return "{" + ",".join(f"{json.dumps(name)}:{each}" for name, each in pairs) + "}"
        case list():
            return "[" + ",".join(map(_written, value)) + "]"
        case Decimal():
            return _decimal(value)
        case _:
            return json.dumps(value)


_READ: Final[Mapping[FieldKind, Callable[[object], object]]] = {
    FieldKind.PLAIN: _plain,
    FieldKind.TIME: _time,
    FieldKind.DATE: _date,
    FieldKind.DECIMAL: _decimal,
    FieldKind.FLOAT: _float,
    FieldKind.BYTES: _bytes,
    FieldKind.JSON: _json,
}
