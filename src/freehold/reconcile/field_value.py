"""The kinds of values in the fields of a dataset, and one form of them for all engines. Pattern: imports the standard
library.

For a time PostgreSQL returns a `datetime`, SQLite the text that was written. Both sides convert a value to one form, by
the declared `FieldKind` of its field: this form is compared, and a repair sends it to the other side.
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
    """The kind of values that a field has.

    plain    texts, whole numbers, and booleans, which are 0 and 1 on some engines.
    time     a moment; without a zone it is UTC.
    date     a day.
    decimal  an exact number with decimal places.
    float    a number of double precision.
    bytes    bytes.
    json     a document; spaces and the order of names have no meaning.
    """

    PLAIN = "plain"
    TIME = "time"
    DATE = "date"
    DECIMAL = "decimal"
    FLOAT = "float"
    BYTES = "bytes"
    JSON = "json"


def canonical(kind: FieldKind, value: object) -> object:
    """Return the value as it is compared: a text, a whole number, a boolean or None. Raises `ValueError` for a value of
    another kind; its message does not contain the value.
    """
    if value is None:
        return None
    try:
        return _CONVERTERS[kind](value)
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
    """Digits without an exponent and without needless zeros; a float in its shortest form."""
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
    return _json_text(read)


def _no_constant(_: str) -> object:
    raise ValueError


def _json_text(value: object) -> str:
    match value:
        case dict():
            pairs = sorted((str(name), _json_text(each)) for name, each in value.items())
            return "{" + ",".join(f"{json.dumps(name)}:{each}" for name, each in pairs) + "}"
        case list():
            return "[" + ",".join(map(_json_text, value)) + "]"
        case Decimal():
            return _decimal(value)
        case _:
            return json.dumps(value)


_CONVERTERS: Final[Mapping[FieldKind, Callable[[object], object]]] = {
    FieldKind.PLAIN: _plain,
    FieldKind.TIME: _time,
    FieldKind.DATE: _date,
    FieldKind.DECIMAL: _decimal,
    FieldKind.FLOAT: _float,
    FieldKind.BYTES: _bytes,
    FieldKind.JSON: _json,
}
