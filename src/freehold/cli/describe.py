"""`freehold describe`: the declarations of a project, as text, JSON or Mermaid. Face: iterates over the declarations of
patterns, and opens no connection.

In the data-flow map, ids of nodes have a prefix and all labels are quoted: a service may be called `end`, which is a
keyword of Mermaid.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from freehold.cli.options import asynchronous, json_option, service_option
from freehold.cli.output import answer_json, line, table
from freehold.cli.project import Project
from freehold.description import Listing, describe_message
from freehold.messages import MessageKind, registry
from freehold.pattern import Pattern
from freehold.runtime.needs import engine_ports, needs_of
from freehold.runtime.patterns import PATTERNS, patterns_of
from freehold.service import Service

__all__ = ["command"]


@click.command("describe", help="Show services, messages, handlers, subscriptions and sagas.")
@service_option
@click.option("--mermaid", "as_mermaid", is_flag=True, help="Show the data-flow map as a Mermaid flowchart.")
@click.option("--ports", "as_ports", is_flag=True, help="Show which ports they need, and which engines have them.")
@json_option
@asynchronous
async def command(project: Project, names: tuple[str, ...], *, as_mermaid: bool, as_ports: bool, as_json: bool) -> int:
    """Show what is declared."""
    services = project.select(names, declared=True)
    if as_ports:
        _show_ports(services, as_json=as_json)
        return 0
    if as_mermaid:
        chart = _flowchart(services)
        if as_json:
            answer_json({"mermaid": chart})
        else:
            click.echo(chart, nl=False)
        return 0
    described = [_describe(service) for service in services]
    if as_json:
        answer_json({"services": described})
        return 0
    for service, each in zip(services, described, strict=True):
        _print(service, each)
    return 0


def _show_ports(services: Sequence[Service], *, as_json: bool) -> None:
    """Show for each port which engines have it, and which patterns of these services need it."""
    engines = engine_ports(services)
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
    owned = sorted((each for each in registry if each.service == service.name), key=lambda each: each.name)
    described = {
        "name": service.name,
        "publishes": [describe_message(each) for each in owned if each.kind is MessageKind.EVENT],
    }
    for pattern in PATTERNS:
        described |= pattern.describe(service.of(pattern))
    return described | {
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


def _print(service: Service, described: Mapping[str, Any]) -> None:
    line(described["name"], style="bold")
    for each in described["publishes"]:
        key = f", in order by {each['key']}" if each["key"] else ""
        line(f"  publishes {each['type']} {each['version']}{key}")
    for pattern in PATTERNS:
        _print_lines(pattern, described, indent="  ")
    for pattern in service.patterns:
        line(f"  uses {pattern.name}: {pattern.summary}")
        own = described["patterns"][pattern.name]
        _print_lines(pattern, own, indent="    ")
        for what, value in own.items() if pattern.lines is None else ():
            if what != "summary":
                line(f"    {what}: {', '.join(map(str, value)) if isinstance(value, list | tuple) else value}")
    line()


def _print_lines(pattern: Pattern[Any], described: Mapping[str, Any], indent: str) -> None:
    for each in pattern.lines(described) if pattern.lines is not None else ():
        if isinstance(each, Listing):
            _print_listing(each, indent)
        else:
            line(f"{indent}{each}")


def _print_listing(listing: Listing, indent: str) -> None:
    columns = (f"{indent}{listing.columns[0]}", *listing.columns[1:])
    rows = [(f"{indent}{first}", *rest) for first, *rest in listing.rows]
    table(f"{indent}{listing.title}", columns, rows, empty="none", least=(listing.folded,))


def _flowchart(services: Sequence[Service]) -> str:
    """The flowchart: solid lines are events, dotted lines are commands."""
    edges: set[tuple[str, str, str, str]] = set()
    for service in services:
        for pattern in patterns_of(service):
            for flow in pattern.flows(service.name, service.of(pattern)):
                arrow = "-->" if flow.message.kind is MessageKind.EVENT else "-.->"
                edges.add((flow.sender, arrow, flow.message.name, flow.receiver))
    names = {service.name for service in services}
    names |= {name for sender, _, _, receiver in edges for name in (sender, receiver)}
    lines = ["flowchart LR"]
    lines += [f'    {_node(name)}["{name}"]' for name in sorted(names)]
    lines += [
        f'    {_node(sender)} {arrow}|"{_short(label)}"| {_node(receiver)}'
        for sender, arrow, label, receiver in sorted(edges)
    ]
    return "\n".join(lines) + "\n"


def _short(name: str) -> str:
    return name.partition(".")[2].replace('"', "#quot;")


def _node(name: str) -> str:
    return "s_" + name.replace("-", "_")
