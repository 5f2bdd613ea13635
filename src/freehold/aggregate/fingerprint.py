"""The fingerprint of a snapshot: a digest of its state's fields, of the events, and of the code that folds them.

Pattern: imports the foundation. Left out is what no state depends on: docstrings, comments, line numbers, names of
classes and of local variables. So a corrected text invalidates no snapshot, and a changed computation in `evolve`
invalidates all of them. Functions that `evolve` calls are not part of it: raise `schema_version` when they change.
Another minor version of Python compiles to other code, so its snapshots do not fit.
"""

from __future__ import annotations

import dis
import hashlib
import inspect
from collections.abc import Callable, Iterable, Mapping
from types import CodeType
from typing import Any, Final

import msgspec

from freehold.messages import message_type

__all__ = ["fingerprint"]

_WORDS: Final = frozenset({"title", "description", "examples"})
_NAMED: Final = frozenset({"properties", "$defs"})
"""Parts of a schema whose keys are names of fields and classes, not words of JSON Schema."""


def fingerprint(state_type: Any, event_types: Iterable[type[Any]], folding: Iterable[Callable[..., Any]]) -> str:
    """Return the digest of a state's fields, of the events it is made from, and of the functions that make it.

    Raises `TypeError`, `NameError` for a type that has no schema.
    """
    shape = _without_class_names(_without_words(msgspec.json.schema(state_type)))
    taken = sorted(f"{each.name}/{each.version}" for each in map(message_type, event_types))
    code = sorted(_digest(repr(_code(each))) for function in folding for each in _implementations(function))
    return _digest(msgspec.json.encode([shape, taken, code], order="deterministic").decode())


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _without_words(schema: Any, *, names: bool = False) -> Any:
    match schema:
        case dict():
            return {
                key: _without_words(value, names=not names and key in _NAMED)
                for key, value in schema.items()
                if names or key not in _WORDS
            }
        case list():
            return [_without_words(each) for each in schema]
        case _:
            return schema


def _without_class_names(schema: dict[str, Any]) -> list[Any]:
    """The schema with its definitions in the order of their first use, referred to by number."""
    definitions = schema.get("$defs", {})
    numbers: dict[str, int] = {}

    def numbered(part: Any) -> Any:
        match part:
            case {"$ref": str(reference)}:
                return {"$ref": numbers.setdefault(reference.rpartition("/")[2], len(numbers))}
            case dict():
                return {key: numbered(value) for key, value in part.items() if key not in {"$defs", "discriminator"}}
            case list():
                return [numbered(each) for each in part]
            case _:
                return part

    parts = [numbered(schema)]
    while len(parts) <= len(numbers):
        parts.append(numbered(definitions[list(numbers)[len(parts) - 1]]))
    return parts


def _implementations(function: Callable[..., Any]) -> list[CodeType]:
    """The code of a function, or of all functions that `functools.singledispatch` chooses from; none for a callable
    that is not written in Python.
    """
    registered = getattr(function, "registry", None)
    functions = list(registered.values()) if isinstance(registered, Mapping) else [inspect.unwrap(function)]
    codes = [getattr(each, "__code__", None) or getattr(type(each).__call__, "__code__", None) for each in functions]
    return [each for each in codes if isinstance(each, CodeType)]


def _code(code: CodeType) -> list[tuple[str, object]]:
    """The instructions of a piece of code, in a form whose `repr` is the same in every process.

    The byte code would not do: it refers to constants by number, and a docstring is one of them.
    """
    return [(each.opname, _argument(each)) for each in dis.get_instructions(code)]


def _argument(instruction: dis.Instruction) -> object:
    if instruction.opcode in dis.haslocal:
        return instruction.arg
    return _constant(instruction.argval) if instruction.opcode in dis.hasconst else instruction.argval


def _constant(value: object) -> object:
    match value:
        case CodeType():
            return _code(value)
        case frozenset():
            return sorted(map(repr, value))
        case tuple():
            return [_constant(each) for each in value]
        case _:
            return value
