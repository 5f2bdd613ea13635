"""`freehold describe`: what a project declares, as text, JSON or Mermaid. Face; opens no connection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from freehold.cli.context import Project, asynchronous, json_option, service_option
from freehold.cli.output import answer_json, console, table
from freehold.messages import MessageKind, MessageType, registry
from freehold.saga.steps import StepKind
from freehold.service import Service

__all__ = ["command"]


@click.command("describe", help="Show services, messages, handlers, subscriptions and sagas.")
@service_option
@click.option("--mermaid", "as_mermaid", is_flag=True, help="A data-flow map as a Mermaid flowchart.")
@json_option
@asynchronous
async def command(project: Project, names: tuple[str, ...], *, as_mermaid: bool, as_json: bool) -> int:
    """Show what is declared."""
    services = project.select(names)
    if as_mermaid:
        click.echo(_flowchart(services), nl=False)
        return 0
    described = [_describe(service) for service in services]
    if as_json:
        answer_json({"services": described})
        return 0
    for each in described:
        _print(each)
    return 0


def _describe(service: Service) -> dict[str, Any]:
    handled = sorted(service.handlers.values(), key=lambda handler: handler.message.name)
    owned = sorted((each for each in registry if each.service == service.name), key=lambda each: each.name)
    return {
        "name": service.name,
        "topics": sorted(service.topics),
        "publishes": [_message(each) for each in owned if each.kind is MessageKind.EVENT],
        "accepts": [_message(each) for each in owned if each.kind is MessageKind.COMMAND],
        "handlers": [
            {**_message(each.message), "function": each.name, "attempts": each.retry.attempts} for each in handled
        ],
        "sagas": [_saga(saga) for saga in service.sagas.values()],
        "migrations": [each.name for each in service.migrations],
    }


def _message(declared: MessageType) -> dict[str, Any]:
    return {
        "type": declared.name,
        "version": declared.version,
        "kind": declared.kind,
        "key": declared.key,
        "class": f"{declared.cls.__module__}.{declared.cls.__qualname__}",
    }


def _saga(saga: Any) -> dict[str, Any]:
    definition = saga.definition()
    steps = [
        {
            "name": step.name,
            "kind": step.kind,
            "action": getattr(step.action, "__name__", ""),
            "undo": getattr(step.undo, "__name__", None),
            "after": list(step.predecessors),
            "pivot": step.pivot,
            "optional": step.optional,
            "timeout_seconds": step.timeout_seconds,
        }
        for step in definition.steps
    ]
    return {"name": definition.name, "version": definition.version, "key": definition.key, "steps": steps}


def _print(described: Mapping[str, Any]) -> None:
    console.print(described["name"], style="bold", end="")
    console.print(f"  reads {', '.join(described['topics']) or 'nothing'}", markup=False)
    for title in ("publishes", "accepts"):
        rows = [(each["type"], each["version"], each["key"]) for each in described[title]]
        if rows:
            table(f"  {title}", ("  type", "version", "key"), [(f"  {a}", b, c) for a, b, c in rows], empty="nothing")
    rows = [
        (f"  {each['type']}", each["version"], each["attempts"], each["function"]) for each in described["handlers"]
    ]
    if rows:
        table("  handles", ("  type", "version", "attempts", "function"), rows, empty="nothing")
    for saga in described["sagas"]:
        console.print(f"  directs {saga['name']} version {saga['version']}", markup=False)
        for step in saga["steps"]:
            marks = ", ".join(mark for mark in ("pivot", "optional") if step[mark])
            after = f" after {', '.join(step['after'])}" if step["after"] else ""
            undo = f", undone by {step['undo']}" if step["undo"] else ""
            console.print(f"    {step['name']}: {step['action']}{after}{undo} {marks and f'({marks})'}", markup=False)
    console.print()


def _flowchart(services: Sequence[Service]) -> str:
    """Who sends what to whom: events from their owner to each subscriber, commands from sagas to their owner."""
    lines = ["flowchart LR"]
    lines += [f"    {_node(service.name)}[{service.name}]" for service in services]
    for service in services:
        for handler in sorted(service.handlers.values(), key=lambda each: each.message.name):
            message = handler.message
            if message.kind is MessageKind.EVENT and message.service != service.name:
                short = message.name.partition(".")[2]
                lines.append(f"    {_node(message.service)} -- {short} --> {_node(service.name)}")
        for saga in service.sagas.values():
            lines += _requests(service, saga)
    return "\n".join(lines) + "\n"


def _requests(service: Service, saga: Any) -> list[str]:
    from freehold.messages import message_type

    lines = []
    for step in saga.definition().steps:
        if step.kind is StepKind.COMMAND:
            declared = message_type(step.action)
            short = declared.name.partition(".")[2]
            lines.append(f"    {_node(service.name)} -. {short} .-> {_node(declared.service)}")
    return lines


def _node(name: str) -> str:
    return name.replace("-", "_")
