"""Values from which `describe` shows the declarations of a service: documents, tables and the flow of messages between
services. Port: imports the messages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from freehold.messages import MessageType

__all__ = ["Flow", "Listing", "describe_message"]


@dataclass(frozen=True, slots=True)
class Flow:
    """A message that one service sends and another handles, because one of them declares it."""

    message: MessageType
    sender: str
    receiver: str


@dataclass(frozen=True, slots=True)
class Listing:
    """A table among the lines of a pattern. `folded` is the column that is wrapped first where space is short."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[object, ...]]
    folded: str


def describe_message(declared: MessageType) -> Mapping[str, Any]:
    """A declared message as a document."""
    return {
        "type": declared.name,
        "version": declared.version,
        "kind": declared.kind,
        "key": declared.key,
        "class": f"{declared.cls.__module__}.{declared.cls.__qualname__}",
    }
