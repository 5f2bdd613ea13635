"""From stored events to a state, in a tight loop. Pattern: imports the foundation and the event store's port.

The loop does for each event what cannot be left out: decode the bytes with a decoder that was looked up once, and call
`evolve`. Only versions that an upcaster starts from take the long way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import msgspec

from freehold.aggregate.model import Model, refuse_event
from freehold.eventstore.store import Body
from freehold.messages import read_event, registry, upcasters

__all__ = ["fold"]

S = TypeVar("S")
_Decode = Callable[[bytes], Any]


def fold(model: Model[S], state: S, events: Iterable[Body]) -> S:
    """Return the state after these events.

    Raises `UnknownMessage`, `CodecError` for what cannot be read, `DeclarationError` for an event that the model does
    not take. One stored event counts for as many as its upcasters make of it, none among them.
    """
    evolve = model.evolve
    decoders: dict[tuple[str, int], _Decode | None] = {}
    for _, name, version, body in events:
        place = (name, version)
        if place not in decoders:
            decoders[place] = _direct(model, name, version)
        decode = decoders[place]
        if decode is None:
            state = _evolve_upcast(model, state, name, version, body)
            continue
        try:
            event = decode(body)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            # Read it again in the way that says what is wrong without saying what is in it.
            (event,) = read_event(name, version, body)
        state = evolve(state, event)
    return state


def _direct(model: Model[Any], name: str, version: int) -> _Decode | None:
    """The decoder of a version that is read as it was written; None where upcasters have to be asked."""
    if upcasters.find(name, version) is not None:
        return None
    cls = registry.find(name, version).cls
    if model.event_types is not None and cls not in model.event_types:
        raise refuse_event(model, cls)
    found = _decoders.get(cls)
    if found is None:
        found = _decoders[cls] = msgspec.json.Decoder(cls).decode
    return found


def _evolve_upcast(model: Model[S], state: S, name: str, version: int, body: bytes) -> S:
    for event in read_event(name, version, body):
        if model.event_types is not None and type(event) not in model.event_types:
            raise refuse_event(model, type(event))
        state = model.evolve(state, event)
    return state


_decoders: dict[type[Any], _Decode] = {}
