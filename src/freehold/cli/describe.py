"""`freehold describe`: what a project declares, as text, JSON or Mermaid. Face; opens no connection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from freehold.cli.flow import flowchart
from freehold.cli.options import asynchronous, json_option, service_option
from freehold.cli.output import answer_json, line, table
from freehold.cli.project import Project
from freehold.messages import MessageKind, MessageType, registry
from freehold.runtime.adapters import database_engines
from freehold.runtime.needs import needs_of
from freehold.saga.steps import StepDirection
from freehold.service import Service

__all__ = ["command"]


@click.command("describe", help="Show services, messages, handlers, subscriptions and sagas.")
@service_option
@click.option("--mermaid", "as_mermaid", is_flag=True, help="A data-flow map as a Mermaid flowchart.")
@click.option("--ports", "as_ports", is_flag=True, help="Which ports they need, and which engines have them.")
@json_option
@asynchronous
async def command(project: Project, names: tuple[str, ...], *, as_mermaid: bool, as_ports: bool, as_json: bool) -> int:
    """Show what is declared."""
    services = project.select(names, declared=True)
    if as_ports:
        _show_ports(services, as_json=as_json)
        return 0
    if as_mermaid:
        chart = flowchart(services)
        if as_json:
            answer_json({"mermaid": chart})
        else:
            click.echo(chart, nl=False)
        return 0
    described = [_describe(service) for service in services]
    if as_json:
        answer_json({"services": described})
        return 0
    for each in described:
        _print(each)
    return 0


def _show_ports(services: Sequence[Service], *, as_json: bool) -> None:
    """Of each port that an engine has: which engines, and which patterns of these services need it."""
    engines = {name: [*ports] for name, ports in database_engines().items()}
    for pattern in (pattern for service in services for pattern in service.patterns):
        for name, provisions in pattern.provisions.items():
            engines.setdefault(name, []).extend(each.port for each in provisions)
    needs = [(service.name, need) for service in services for need in needs_of(service)]
    ports = {port: port.title for had in engines.values() for port in had}
    ports |= {port: port.title for _, need in needs for port in need.ports}
    having = {port: [name for name, had in engines.items() if port in had] for port in ports}
    using = {port: [(name, need.title) for name, need in needs if port in need.ports] for port in ports}
    if as_json:
        described = [
            {
                "port": port.name,
                "holds": title,
                "engines": having[port],
                "needed_by": [{"service": name, "pattern": pattern} for name, pattern in using[port]],
            }
            for port, title in ports.items()
        ]
        answer_json({"ports": described})
        return
    rows = [
        (
            port.name,
            title,
            *("yes" if name in having[port] else "no" for name in engines),
            ", ".join(f"{name} ({pattern})" for name, pattern in using[port]),
        )
        for port, title in ports.items()
    ]
    table("ports", ("port", "holds", *engines, "needed by"), rows, empty="none", least=("holds",))


def _describe(service: Service) -> dict[str, Any]:
    handled = sorted(service.handlers.values(), key=lambda each: (each.message.name, each.message.version))
    owned = sorted((each for each in registry if each.service == service.name), key=lambda each: each.name)
    return {
        "name": service.name,
        "publishes": [_message(each) for each in owned if each.kind is MessageKind.EVENT],
        "accepts": [
            {**_message(each), "handled": each in service.handlers}
            for each in owned
            if each.kind is MessageKind.COMMAND
        ],
        "subscriptions": _subscriptions(service),
        "handlers": [
            {
                **_message(each.message),
                "topic": each.message.topic,
                "function": each.name,
                "attempts": each.retry.attempts,
                "timeout_seconds": each.timeout_seconds,
            }
            for each in handled
        ],
        "sagas": [_saga(saga) for _, saga in sorted(service.sagas.items())],
        "migrations": [each.name for each in service.migrations],
        "needs": [
            {"pattern": need.title, "ports": [port.name for port in need.ports], "by": list(need.by)}
            for need in needs_of(service)
        ],
        "patterns": {
            pattern.name: {"summary": pattern.summary, **pattern.describe(service.of(pattern))}
            for pattern in service.patterns
        },
    }


def _subscriptions(service: Service) -> list[dict[str, Any]]:
    """What is read of each topic; `types` is empty for answers to the service's sagas."""
    types: dict[str, list[str]] = {topic: [] for topic in sorted(service.topics)}
    for message in service.handlers:
        types[message.topic].append(f"{message.name} {message.version}")
    return [
        {"topic": topic, "group": service.name, "types": sorted(names), "answers": topic == f"{service.name}.replies"}
        for topic, names in types.items()
    ]


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
            "compensation": getattr(step.compensation, "__name__", None),
            "after": list(step.predecessors),
            "pivot": step.pivot,
            "optional": step.optional,
            "timeout_seconds": step.timeout_seconds,
            "attempts": step.policy(StepDirection.ACTION).attempts,
        }
        for step in definition.steps
    ]
    return {"name": definition.name, "version": definition.version, "key": definition.key, "steps": steps}


def _print(described: Mapping[str, Any]) -> None:
    line(described["name"], style="bold")
    for subscription in described["subscriptions"]:
        answers = " for the answers to its sagas" if subscription["answers"] else ""
        line(f"  reads {subscription['topic']}{answers}")
    for title in ("publishes", "accepts"):
        for each in described[title]:
            key = f", in order by {each['key']}" if each["key"] else ""
            unhandled = "" if each.get("handled", True) else "; no handler is declared"
            line(f"  {title} {each['type']} {each['version']}{key}{unhandled}")
    rows = [
        (f"    {each['type']}", each["version"], each["attempts"], each["function"]) for each in described["handlers"]
    ]
    if rows:
        table("  handles", ("    type", "version", "attempts", "function"), rows, empty="none", least=("function",))
    for saga in described["sagas"]:
        line(f"  orchestrates {saga['name']} version {saga['version']}")
        for step in saga["steps"]:
            line(f"    {_step(step)}")
    for name, declared in described["patterns"].items():
        line(f"  uses {name}: {declared['summary']}")
        for what, value in declared.items():
            if what != "summary":
                line(f"    {what}: {', '.join(map(str, value)) if isinstance(value, list | tuple) else value}")
    line()


def _step(step: Mapping[str, Any]) -> str:
    after = f" after {', '.join(step['after'])}" if step["after"] else ""
    compensation = f", compensated by {step['compensation']}" if step["compensation"] else ""
    marks = [mark for mark in ("pivot", "optional") if step[mark]]
    return f"{step['name']}: {step['action']}{after}{compensation}" + (f" ({', '.join(marks)})" if marks else "")
