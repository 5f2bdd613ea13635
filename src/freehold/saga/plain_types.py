"""Types whose values are made and decoded without code of the service. Pattern: imports the standard library only.

An outcome is on record before any code of a definition runs with it. Merging the reply of a call into a state of such a
type runs none, so both are one transaction.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import types
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from typing import Any, Final, Literal, Union, get_args, get_origin, get_type_hints
from uuid import UUID

__all__ = ["is_plain"]

_VALUES: Final = frozenset(
    {str, int, float, bool, bytes, type(None), date, datetime, time, timedelta, Decimal, UUID, list, dict, tuple, set}
)
_CONTAINERS: Final = frozenset(
    {list, dict, tuple, set, frozenset, collections.abc.Sequence, collections.abc.Mapping, Union, types.UnionType}
)
_GENERATED: Final = "<string>"
"""The file name of the functions that `dataclass` generates."""


def is_plain(kind: Any) -> bool:
    """Whether making and decoding a value of this type runs no code of the service. False where that is not known."""
    return _is_plain(kind)


@lru_cache(maxsize=512)
def _is_plain(kind: Any) -> bool:
    if kind in _VALUES or kind is Any or kind is Ellipsis:
        return True
    origin = get_origin(kind)
    if origin is Literal:
        return True
    if origin in _CONTAINERS:
        return all(is_plain(each) for each in get_args(kind))
    if not isinstance(kind, type):
        return False
    if issubclass(kind, Enum):
        return getattr(kind._missing_, "__func__", None) is getattr(Enum._missing_, "__func__", None)
    return dataclasses.is_dataclass(kind) and _is_generated(kind) and _has_plain_fields(kind)


def _is_generated(kind: Any) -> bool:
    """Whether all of a dataclass that runs when it is made was generated."""
    made = getattr(kind.__init__, "__code__", None)
    frozen = kind.__dataclass_params__.frozen
    return (
        made is not None
        and made.co_filename == _GENERATED
        and kind.__new__ is object.__new__
        and not hasattr(kind, "__post_init__")
        and (frozen or kind.__setattr__ is object.__setattr__)
    )


def _has_plain_fields(kind: Any) -> bool:
    fields = dataclasses.fields(kind)
    factories = {field.default_factory for field in fields} - {dataclasses.MISSING, list, dict, tuple, set, frozenset}
    if factories or not all(field.init for field in fields):
        return False
    try:
        hints = get_type_hints(kind)
    except NameError:
        return False  # a class inside a function, whose annotations cannot be resolved
    return all(is_plain(hints[field.name]) for field in fields)
