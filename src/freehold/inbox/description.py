"""The handlers of a service as `freehold describe` shows them. Pattern: imports its package and the messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from freehold.description import Flow, Listing, describe_message
from freehold.inbox.handler import Handlers
from freehold.messages import MessageKind, registry

__all__ = ["describe", "flows", "lines"]


def describe(declared: Handlers) -> Mapping[str, Any]:
    """Return the commands that the service accepts, the topics that it reads, and its handlers."""
    handled = sorted(declared.handlers.values(), key=lambda each: (each.message.name, each.message.version))
    owned = sorted((each for each in registry if each.service == declared.service), key=lambda each: each.name)
    return {
        "accepts": [
            {**describe_message(each), "handled": each in declared.handlers}
            for each in owned
            if each.kind is MessageKind.COMMAND
        ],
        "subscriptions": _subscriptions(declared),
        "handlers": [
            {
                **describe_message(each.message),
                "topic": each.message.topic,
                "function": each.name,
                "attempts": each.retry.attempts,
                "timeout_seconds": each.timeout_seconds,
            }
            for each in handled
        ],
    }


def lines(described: Mapping[str, Any]) -> Sequence[str | Listing]:
    """Return the description as lines of text and a table."""
    found: list[str | Listing] = []
    for subscription in described["subscriptions"]:
        answers = " for the replies to its sagas" if subscription["answers"] else ""
        found.append(f"reads {subscription['topic']}{answers}")
    for each in described["accepts"]:
        key = f", in order by {each['key']}" if each["key"] else ""
        unhandled = "" if each["handled"] else "; no handler is declared"
        found.append(f"accepts {each['type']} {each['version']}{key}{unhandled}")
    rows = [
        (f"  {each['type']}", each["version"], each["attempts"], each["function"]) for each in described["handlers"]
    ]
    if rows:
        found.append(Listing("handles", ("  type", "version", "attempts", "function"), rows, "function"))
    return found


def flows(service: str, declared: Handlers) -> Sequence[Flow]:
    """Return one flow for each handled event: from the service that owns it."""
    events = (each for each in declared.handlers if each.kind is MessageKind.EVENT)
    return [Flow(each, each.service, service) for each in events]


def _subscriptions(declared: Handlers) -> Sequence[Mapping[str, Any]]:
    """The topics that are read, with the types that are handled; replies to the service's sagas have no types."""
    service = declared.service
    types: dict[str, list[str]] = {topic: [] for topic in sorted(declared.topics)}
    for message in declared.handlers:
        types[message.topic].append(f"{message.name} {message.version}")
    return [
        {"topic": topic, "group": service, "types": sorted(names), "answers": topic == f"{service}.replies"}
        for topic, names in types.items()
    ]
