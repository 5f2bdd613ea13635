"""The translation of an aggregate's new events into the messages that are published in the same commit. Pattern:
imports the foundation and the transaction.

A stored event is internal to this service; a published one is a contract with others. `publish=True`, or types, publish
the stored event itself; a function translates it into another class.
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
"""(event, `CommandResult`) → the message to publish, several in a list or tuple, or None."""
Publish = bool | type[Any] | Iterable[type[Any]] | Translate


def translation(model: Model[Any], publish: Publish) -> Translate | None:
    """The function that translates each new event; None if nothing is published. Raises `DeclarationError` for types
    that the model does not have.
    """
    if isinstance(publish, bool):
        return (lambda event, _: event) if publish else None
    if isinstance(publish, type) or not callable(publish):
        types = _types(model, (publish,) if isinstance(publish, type) else tuple(publish))
        return lambda event, _: event if type(event) in types else None
    return publish


def publish_events(tx: Transaction, translate: Translate, id: str, result: Any) -> None:
    """Publish the translated events of a `CommandResult`, in their order."""
    for event in result.events:
        made = translate(event, result)
        for message in made if isinstance(made, (list, tuple)) else (made,):
            if message is not None:
                # Without a key of their own, the messages of one aggregate keep their order by its id.
                tx.publish(message, key=message_type(message).partition_key(message) or id)


def _types(model: Model[Any], named: Sequence[type[Any]]) -> frozenset[type[Any]]:
    types = check_event_types(f"'{model.category}' publishes", named)
    unknown = types - model.event_types if model.event_types is not None else frozenset()
    if unknown:
        strange = message_type(next(iter(unknown)))
        raise DeclarationError(
            f"'{model.category}' publishes '{strange.name}' version {strange.version}, which is none of its events",
            hint="name its own events, or translate them: publish=lambda event, result: ...",
        )
    return types
