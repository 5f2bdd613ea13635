"""The mapping between a saga's state and its messages: commands are made from the state, replies are merged into it.
Pattern: imports the codec only.
"""

from __future__ import annotations

import dataclasses
from functools import lru_cache
from typing import Any, Final, get_type_hints

import msgspec

from freehold.errors import CodecError
from freehold.saga.steps import StepDefinition, StepDirection

__all__ = ["EMPTY_REPLIES", "make_command", "merge_reply"]

EMPTY_REPLIES: Final = frozenset({b"", b"{}", b"null"})
"""Bodies that change no state."""


def make_command(step: StepDefinition, direction: StepDirection, state: Any) -> Any:
    """Return the command of an action or a compensation: `make(state)`, or the command's class with its fields taken
    from the fields of the same names in the state.
    """
    compensation = direction is StepDirection.COMPENSATION
    make = step.make_compensation if compensation else step.make
    if make is not None:
        return make(state)
    cls = step.compensation if compensation else step.action
    return cls(**{name: getattr(state, name) for name in _fields(cls) if hasattr(state, name)})


def merge_reply(step: StepDefinition, state: Any, body: bytes) -> Any:
    """Return the state with the reply merged into it. Raises `CodecError`, whose text contains no values, where the
    reply does not fit.
    """
    if body in EMPTY_REPLIES:
        return state
    try:
        if step.merge is not None:
            return step.merge(state, msgspec.json.decode(body, type=step.reply or dict[str, Any]))
        reply = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
        cls: Any = type(state)
        types = _types(cls)
        shared = {name: msgspec.json.decode(raw, type=types[name]) for name, raw in reply.items() if name in types}
    except msgspec.MsgspecError as error:
        raise CodecError(
            f"the reply to step '{step.name}' does not fit {type(state).__name__}: {type(error).__name__}"
        ) from None
    return dataclasses.replace(state, **shared) if shared else state


@lru_cache(maxsize=512)
def _fields(cls: Any) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(cls))


@lru_cache(maxsize=512)
def _types(cls: Any) -> dict[str, Any]:
    """Types of the fields; Any for a class inside a function whose annotations cannot be resolved."""
    try:
        hints = get_type_hints(cls)
    except NameError:
        hints = {}
    return {field.name: hints.get(field.name, Any) for field in dataclasses.fields(cls)}
