"""Fields of settings: their types, the ranges of their values, and the nearest name of a misspelt one.

Foundation: standard library and the errors. The same checks apply to every source: the environment, a file, keyword
arguments and a class that is called directly. An error names the field and its place, never the value.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final, TypeVar, get_type_hints

from freehold.errors import ConfigurationError

__all__ = [
    "SECONDS_MAX",
    "bounded",
    "check",
    "convert",
    "is_whole",
    "nearest",
    "options_of",
    "seconds",
    "unknown_name",
    "words",
]

T = TypeVar("T")
SECONDS_MAX: Final = 100 * 366 * 86400.0
"""A hundred years mean "for ever": such a date still fits into every column."""
_RULE: Final = "freehold.rule"
_TRUE: Final = frozenset({"1", "true", "yes", "on"})
_FALSE: Final = frozenset({"0", "false", "no", "off"})
_hints: Final[dict[type[Any], Mapping[str, Any]]] = {}


@dataclass(frozen=True, slots=True)
class _Range:
    least: float
    most: float


@dataclass(frozen=True, slots=True)
class _Words:
    empty: bool


def bounded(default: float, least: float, most: float) -> Any:
    """A field with a number from `least` to `most`."""
    return dataclasses.field(default=default, metadata={_RULE: _Range(least, most)})


def seconds(default: float, *, least: float = 0.001, most: float = SECONDS_MAX) -> Any:
    """A field with a time span. `least` is a millisecond by default: engines round less to 0, which means no limit."""
    return bounded(default, least, most)


def words(default: str | None = None, *, empty: bool = False, shown: bool = True) -> Any:
    """A field with text. It must not be empty unless `empty`; it is left out of `repr` unless `shown`."""
    metadata = {_RULE: _Words(empty)}
    if default is None:
        return dataclasses.field(repr=shown, metadata=metadata)
    return dataclasses.field(default=default, repr=shown, metadata=metadata)


def check(instance: Any, place: str) -> None:
    """Check each field of a frozen dataclass, and convert whole numbers to floats in float fields.

    Called by `__post_init__`. Raises `ConfigurationError`.
    """
    kinds = _kinds(type(instance))
    for each in dataclasses.fields(instance):
        value = _checked(getattr(instance, each.name), kinds[each.name], each.metadata, f"{place}: '{each.name}'")
        object.__setattr__(instance, each.name, value)


def convert(cls: type[Any], found: Mapping[str, Any], place: str, *, known: Collection[str]) -> dict[str, Any]:
    """Check and convert values for the fields of a class; numbers and booleans may be written as text.

    Raises `ConfigurationError`, also for a name that is not `known`; its hint names the nearest one.
    """
    kinds, fields = _kinds(cls), {each.name: each for each in dataclasses.fields(cls)}
    for name in found:
        if name not in known:
            raise unknown_name(f"{place}: unknown setting", str(name), known)
    return {
        name: _checked(_read(value, kinds[name], f"{place}: '{name}'"), kinds[name], fields[name].metadata,
                       f"{place}: '{name}'")
        for name, value in found.items()
    }  # fmt: skip


def options_of(cls: type[T], value: object, place: str) -> T:
    """Make options from a table of values; an instance of the class stays as it is. Raises `ConfigurationError`."""
    if isinstance(value, cls):
        return value
    if not isinstance(value, Mapping):
        raise ConfigurationError(f"{place} must be a table", hint=f"{cls.__name__}(…), or a dict of its fields")
    return cls(**convert(cls, value, place, known=list(_kinds(cls))))


def nearest(name: str, known: Iterable[str], *, cutoff: float = 0.6) -> str:
    """The known name that is most like this one; empty where none is."""
    by_case = {each.casefold(): each for each in known}
    found = get_close_matches(name.casefold(), by_case, n=1, cutoff=cutoff)
    return by_case[found[0]] if found else ""


def unknown_name(what: str, name: str, known: Iterable[str]) -> ConfigurationError:
    """The error for an unknown name; its hint names the nearest one."""
    near = nearest(name, known)
    meant = f"did you mean '{near}'? " if near else ""
    return ConfigurationError(f"{what} '{name}'", hint=f"{meant}known: {', '.join(sorted(known))}")


def _read(value: object, kind: Any, place: str) -> object:
    """Parse text into the field's type; anything else is returned unchanged."""
    if not isinstance(value, str) or kind is str:
        return value
    if kind is bool:
        if value.lower() in _TRUE | _FALSE:
            return value.lower() in _TRUE
        raise ConfigurationError(f"{place} must be true or false")
    if kind in {int, float}:
        try:
            return kind(value)
        except ValueError:
            raise ConfigurationError(f"{place} must be a number") from None
    return value


def _checked(value: Any, kind: Any, metadata: Mapping[str, Any], place: str) -> Any:
    if kind in {int, float}:
        return _number(value, kind, metadata.get(_RULE), place)
    if isinstance(kind, type) and not isinstance(value, kind):
        raise ConfigurationError(f"{place} must be {kind.__name__}, and is {type(value).__name__}")
    rule = metadata.get(_RULE)
    if isinstance(rule, _Words):
        _check_words(value, rule, place)
    return value


def is_whole(value: object) -> bool:
    """Whether a value is an integer and not a boolean."""
    return isinstance(value, int) and not isinstance(value, bool)


def _number(value: Any, kind: type[Any], rule: _Range | None, place: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int if kind is int else (int, float)):
        wanted = "a whole number" if kind is int else "a number"
        raise ConfigurationError(f"{place} must be {wanted}, and is {type(value).__name__}")
    # Written so that NaN is refused: every comparison with it is false.
    if rule is not None and not rule.least <= value <= rule.most:
        raise ConfigurationError(f"{place} must be between {rule.least:g} and {rule.most:.12g}")
    number: float = kind(value)
    return number


def _check_words(value: str, rule: _Words, place: str) -> None:
    if rule.empty:
        return
    if not value.strip():
        raise ConfigurationError(f"{place} is empty", hint="give it a value, or leave it out")
    if not all(each.isprintable() for each in value):
        raise ConfigurationError(f"{place} holds a control character", hint="does it end with a line break?")


def _kinds(cls: type[Any]) -> Mapping[str, Any]:
    if cls not in _hints:
        _hints[cls] = get_type_hints(cls)
    return _hints[cls]
