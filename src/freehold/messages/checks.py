"""The checks of single values: the type, and the range of numbers and times. Imports the standard library and msgspec.

A check returns for a value that fits, and raises `Misfit` for one that does not. `checkers` selects the checks of a
class.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, Final
from uuid import UUID

import msgspec

__all__ = [
    "DECIMAL_DIGITS_MAX",
    "DEPTH_MAX",
    "INT_MAX",
    "INT_MIN",
    "LEAVES",
    "Check",
    "Misfit",
    "any_of",
    "anything",
    "bare",
    "elements",
    "enum",
    "fixed",
    "instance",
    "literal",
    "local_time",
    "mapping",
    "no_deeper",
    "nothing",
    "optional",
    "parts_of",
    "path_of",
    "record",
    "typed_dict",
]

DEPTH_MAX: Final = 100
"""Maximum depth of a value whose class does not limit it: readers decode it recursively."""

_TOO_DEEP: Final = f"must not be nested deeper than {DEPTH_MAX}"

DECIMAL_DIGITS_MAX: Final = 1000
"""Maximum number of digits of a decimal, before and after the point."""

INT_MIN: Final = -(2**63)
INT_MAX: Final = 2**63 - 1
"""The range of integers that databases can store."""

_FLOAT_INT_MAX: Final = 2**53
# Times in this range have a date in every time zone, so that readers can convert them.
_TIME_MIN: Final = datetime(1, 1, 2, tzinfo=UTC)
_MINUTE: Final = timedelta(minutes=1)
_TIME_MAX: Final = datetime(9999, 12, 30, tzinfo=UTC)

Check = Callable[[Any], None]


def path_of(places: Iterable[str]) -> str:
    """Return the path of a field from its parts: names, and indexes in brackets."""
    return "".join(place if place.startswith("[") else f".{place}" for place in places).lstrip(".")


class Misfit(Exception):
    """A value does not fit. `reason` names types, never values. The path is built from the inside out."""

    def __init__(self, reason: str, *, of_type: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.of_type = of_type
        self._path: list[str] = []

    def within(self, place: str) -> Misfit:
        """Add the place in the surrounding value: `name` or `[2]`."""
        self._path.append(place)
        return self

    @property
    def field(self) -> str:
        """The path of the field, `lines[2].quantity`; empty for the value itself."""
        return path_of(reversed(self._path))


def record(cls: type[Any], fields: Sequence[tuple[str, Check]]) -> Check:
    """Check an object of exactly this class and its fields. A subclass would be decoded as this class."""

    def check(value: Any) -> None:
        if type(value) is not cls:
            raise _wrong(cls.__name__, value)
        for name, check_field in fields:
            try:
                check_field(getattr(value, name))
            except AttributeError:
                raise Misfit("has no value").within(name) from None
            except Misfit as misfit:
                raise misfit.within(name) from None

    return check


def _wrong(wanted: str, value: object) -> Misfit:
    return Misfit(f"must be {wanted}, and is {type(value).__name__}", of_type=True)


def nothing(value: Any) -> None:
    """Check that a value is None."""
    if value is not None:
        raise _wrong("None", value)


def _text(value: Any) -> None:
    if not isinstance(value, str):
        raise _wrong("str", value)


def _flag(value: Any) -> None:
    if type(value) is not bool:
        raise _wrong("bool", value)


def _integer(value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise _wrong("int", value)
    if not INT_MIN <= value <= INT_MAX:
        raise Misfit("must be within 64 bits")


def _number(value: Any) -> None:
    if isinstance(value, float):
        if not math.isfinite(value):
            raise Misfit("must be a finite number")
    elif isinstance(value, bool) or not isinstance(value, int):
        raise _wrong("float", value)
    elif not -_FLOAT_INT_MAX <= value <= _FLOAT_INT_MAX:
        raise Misfit("must be a number that a float holds exactly")


def _decimal(value: Any) -> None:
    if type(value) is int:  # the codec decodes integers as decimals too
        _integer(value)
        return
    if not isinstance(value, Decimal):
        raise _wrong("Decimal", value)
    if not value.is_finite():
        raise Misfit("must be a finite number")
    if len(value.as_tuple().digits) > DECIMAL_DIGITS_MAX or abs(value.adjusted()) > DECIMAL_DIGITS_MAX:
        raise Misfit(f"must have at most {DECIMAL_DIGITS_MAX} digits")


def _time_with_zone(value: Any) -> None:
    if not isinstance(value, datetime):
        raise _wrong("datetime", value)
    offset = value.utcoffset()
    if offset is None:
        raise Misfit("must have a time zone")
    if offset % _MINUTE:
        # RFC 3339 has no seconds in an offset, which local mean times of the past have.
        raise Misfit("must have an offset of whole minutes from UTC")
    if not _TIME_MIN <= value <= _TIME_MAX:
        raise Misfit("must be a time that has a date in every time zone")


def local_time(value: Any) -> None:
    """Check a time without a time zone, where that is declared."""
    if not isinstance(value, datetime):
        raise _wrong("datetime", value)
    if value.utcoffset() is not None:
        raise Misfit("must have no time zone")


def _date(value: Any) -> None:
    if not isinstance(value, date) or isinstance(value, datetime):
        raise _wrong("date", value)


def instance(*classes: type[Any]) -> Check:
    """Check an instance of one of the classes; the error names the first."""
    wanted = classes[0].__name__

    def check(value: Any) -> None:
        if not isinstance(value, classes):
            raise _wrong(wanted, value)

    return check


LEAVES: Final[Mapping[type[Any], Check]] = {
    str: _text,
    int: _integer,
    float: _number,
    bool: _flag,
    type(None): nothing,
    bytes: instance(bytes, bytearray),
    bytearray: instance(bytearray, bytes),
    Decimal: _decimal,
    UUID: instance(UUID),
    datetime: _time_with_zone,
    date: _date,
    time: instance(time),
    timedelta: instance(timedelta),
}


def enum(cls: type[Enum]) -> Check:
    """Check a member of an enumeration."""
    plain = {each.value for each in cls} if issubclass(cls, (str, int)) else frozenset()

    def check(value: Any) -> None:
        # A text that equals a member of a StrEnum is decoded as that member.
        if not isinstance(value, cls) and not (type(value) in {str, int} and value in plain):
            raise _wrong(cls.__name__, value)

    return check


def literal(values: tuple[Any, ...]) -> Check:
    """Check that a value is one of these."""
    allowed = {(type(each), each) for each in values}

    def check(value: Any) -> None:
        if not isinstance(value, (str, int, type(None))) or (type(value), value) not in allowed:
            raise Misfit("must be one of the values declared for it")

    return check


def optional(check: Check) -> Check:
    """Check None, or a value that fits the check."""

    def check_optional(value: Any) -> None:
        if value is not None:
            check(value)

    return check_optional


def any_of(checks: Sequence[Check], *, may_be_none: bool) -> Check:
    """Check a value that fits one of the checks."""

    def check(value: Any) -> None:
        if may_be_none and value is None:
            return
        reasons = []
        for each in checks:
            try:
                each(value)
            except Misfit as misfit:
                reasons.append(misfit)
            else:
                return
        # The error from inside the value is the most precise one.
        raise max(reasons, key=lambda misfit: bool(misfit.field) or not misfit.of_type)

    return check


def elements(classes: tuple[type[Any], ...], check: Check) -> Check:
    """Check a collection of one of the classes, and each element with `check`."""
    wanted = classes[0].__name__

    def check_elements(value: Any) -> None:
        if not isinstance(value, classes):
            raise _wrong(wanted, value)
        index = 0
        try:
            for each in value:
                check(each)
                index += 1
        except Misfit as misfit:
            raise misfit.within(f"[{index}]") from None

    return check_elements


def fixed(checks: Sequence[Check]) -> Check:
    """Check a tuple with one element for each check."""

    def check(value: Any) -> None:
        if not isinstance(value, tuple):
            raise _wrong("tuple", value)
        if len(value) != len(checks):
            raise Misfit(f"must have {len(checks)} elements, and has {len(value)}")
        for index, (each, check_one) in enumerate(zip(value, checks, strict=True)):
            try:
                check_one(each)
            except Misfit as misfit:
                raise misfit.within(f"[{index}]") from None

    return check


def mapping(check_key: Check, check_value: Check) -> Check:
    """Check a dict, its keys and its values."""

    def check(value: Any) -> None:
        if not isinstance(value, dict):
            raise _wrong("dict", value)
        for key, each in value.items():
            try:
                check_key(key)
            except Misfit as misfit:
                raise Misfit(f"has a key that {misfit.reason}") from None
            try:
                check_value(each)
            except Misfit as misfit:
                raise misfit.within("[…]") from None  # a key may be personal data

    return check


def typed_dict(hints: Mapping[str, Check]) -> Check:
    """Check a dict, and those of these fields that it has."""

    def check(value: Any) -> None:
        if not isinstance(value, dict):
            raise _wrong("dict", value)
        for name, each in value.items():
            if name in hints:
                try:
                    hints[name](each)
                except Misfit as misfit:
                    raise misfit.within(name) from None

    return check


def anything(value: Any, depth: int = 0) -> None:
    """Check a value without a declared type, by its own type."""
    if depth > DEPTH_MAX:
        raise Misfit(_TOO_DEEP)
    check = LEAVES.get(type(value))
    if check is not None:
        check(value)
        return
    for place, each in parts_of(value):
        try:
            anything(each, depth + 1)
        except Misfit as misfit:
            raise misfit.within(place) from None


def parts_of(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the parts of a value with their places: a field's name, `[2]`, or `[…]` in a dict, whose keys may be
    personal data.
    """
    if isinstance(value, dict):
        for key, each in value.items():
            yield "[…]", key
            yield "[…]", each
    elif isinstance(value, (list, tuple, set, frozenset)):
        yield from ((f"[{index}]", each) for index, each in enumerate(value))
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield from ((each.name, getattr(value, each.name, None)) for each in dataclasses.fields(value))
    elif isinstance(value, msgspec.Struct):
        yield from ((name, getattr(value, name, None)) for name in value.__struct_fields__)


def bare(cls: type[Any]) -> Check:
    """Check a collection of this class with elements of any type."""

    def check(value: Any) -> None:
        if not isinstance(value, cls):
            raise _wrong(cls.__name__, value)
        anything(value)

    return check


def no_deeper(check: Check) -> Check:
    """Check a value of a class that contains itself, and its depth."""

    def check_depth(value: Any) -> None:
        pending = [(value, 0)]
        while pending:
            each, depth = pending.pop()
            if depth > DEPTH_MAX:
                raise Misfit(_TOO_DEEP)
            pending.extend((part, depth + 1) for _, part in parts_of(each))
        check(value)

    return check_depth
