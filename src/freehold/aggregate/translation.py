"""Which of an aggregate's new events also go out to other services, in the same commit. Pattern: imports the foundation
and the transaction.

A stored event is this service's own history; a published one is a promise to others. Where both are the same class,
`publish=True` or the types say so; where they are two, a function translates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from freehold.aggregate.model import Model, check_event_types
from freehold.errors import DeclarationError
from freehold.messages import message_type
from freehold.transaction import Transaction

__all__ = ["Publish", "Translate", "publish_events", "translation"]

Translate = Callable[[Any, Any], object]
"""(event, `Executed`) → the message to publish, several in a sequence, or None."""
Publish = bool | type[Any] | Iterable[type[Any]] | Translate


def translation(model: Model[Any], publish: Publish) -> Translate | None:
    """What is made of each new event, None for nothing of any. Raises `DeclarationError` for types that the model has
    not.
    """
    if isinstance(publish, bool):
        return (lambda event, _: event) if publish else None
    if isinstance(publish, type) or not callable(publish):
        types = _types(model, (publish,) if isinstance(publish, type) else tuple(publish))
        return lambda event, _: event if type(event) in types else None
    return publish


def publish_events(tx: Transaction, translate: Translate, id: str, executed: Any) -> None:
    """Publish what is made of the events of an `Executed`, in their order."""
    for event in executed.events:
        made = translate(event, executed)
        for message in made if isinstance(made, (list, tuple)) else (made,):
            if message is not None:
                # Without a key of their own the events of one aggregate keep their order all the same.
                tx.publish(message, key=message_type(message).partition_key(message) or id)


def _types(model: Model[Any], named: Sequence[type[Any]]) -> frozenset[type[Any]]:
    types = check_event_types(f"'{model.category}' publishes", named)
    unknown = types - model.event_types if model.event_types is not None else frozenset()
    if unknown:
        strange = message_type(next(iter(unknown)))
        raise DeclarationError(
            f"'{model.category}' publishes '{strange.name}' version {strange.version}, which is none of its events",
            hint="name its own events, or translate them: publish=lambda event, executed: ...",
        )
    return types
