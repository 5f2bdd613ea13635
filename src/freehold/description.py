"""What `describe` shows of what a service declares: as a document, as lines, as messages that go from service to
service. Port: imports the messages.
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
    """Rows under column titles, among the lines of a pattern. `folded` is the column that gives way first."""

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
