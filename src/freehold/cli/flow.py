"""The data-flow map of a project as a Mermaid flowchart: who tells or asks whom what. Face; plain text.

Events go from their owner to each subscriber, commands from the saga's service to their owner. Ids of nodes have a
prefix and all labels are quoted: a service may be called `end`, which is a word of Mermaid's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from freehold.messages import MessageKind, message_type
from freehold.saga.steps import StepKind
from freehold.service import Service

__all__ = ["flowchart"]


def flowchart(services: Sequence[Service]) -> str:
    """Return the flowchart: solid lines are events, dotted ones commands of sagas."""
    edges: set[tuple[str, str, str, str]] = set()
    for service in services:
        for message in service.handlers:
            if message.kind is MessageKind.EVENT:
                edges.add((message.service, "-->", message.name, service.name))
        for saga in service.sagas.values():
            edges |= {(service.name, "-.->", name, owner) for name, owner in _requests(saga)}
    names = {service.name for service in services}
    names |= {name for sender, _, _, receiver in edges for name in (sender, receiver)}
    lines = ["flowchart LR"]
    lines += [f'    {_node(name)}["{name}"]' for name in sorted(names)]
    lines += [
        f'    {_node(sender)} {arrow}|"{_short(label)}"| {_node(receiver)}'
        for sender, arrow, label, receiver in sorted(edges)
    ]
    return "\n".join(lines) + "\n"


def _requests(saga: Any) -> list[tuple[str, str]]:
    """Commands that a saga sends, compensations among them, with the services they go to."""
    commands = [
        message_type(each)
        for step in saga.definition().steps
        if step.kind is StepKind.COMMAND
        for each in (step.action, step.compensation)
        if each is not None
    ]
    return [(declared.name, declared.service) for declared in commands]


def _short(name: str) -> str:
    return name.partition(".")[2].replace('"', "#quot;")


def _node(name: str) -> str:
    return "s_" + name.replace("-", "_")
