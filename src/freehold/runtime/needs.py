"""The check that an engine has the ports that a service's patterns need. Runtime: iterates over their declarations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from freehold.pattern import Need
from freehold.ports import MissingPort, Port, Stores
from freehold.runtime.adapters import database_engines
from freehold.runtime.patterns import patterns_of
from freehold.service import Service

__all__ = ["check_ports", "engine_ports", "needs_of"]


def needs_of(service: Service) -> list[Need]:
    """The ports that the declarations of a service need, by pattern."""
    return [need for pattern in patterns_of(service) for need in pattern.needs(service.of(pattern))]


def engine_ports(services: Sequence[Service]) -> Mapping[str, Sequence[Port[Any]]]:
    """The ports of each database engine, by the engine's name: those of its adapter, and those that the services' own
    patterns provide for it.
    """
    found = {name: [*ports] for name, ports in database_engines().items()}
    for pattern in (pattern for service in services for pattern in service.patterns):
        for name, provisions in pattern.provisions.items():
            found.setdefault(name, []).extend(each.port for each in provisions)
    return found


def check_ports(service: Service, stores: Stores) -> None:
    """Refuse a service whose engine lacks a port that it needs. Raises one `MissingPort`, which names all of them."""
    lacking = [(need, port) for need in needs_of(service) for port in need.missing(list(stores))]
    if not lacking:
        return
    reasons = "; ".join(
        f"{need.title} needs the port '{port}' ({port.title}), which {stores.engine} does not have"
        for need, port in lacking
    )
    raise MissingPort(f"service '{service.name}': {reasons}", hint="; ".join(_hints(service, lacking)))


def _hints(service: Service, lacking: Sequence[tuple[Need, Port[Any]]]) -> Iterator[str]:
    engines = engine_ports([service])
    for port in dict.fromkeys(port for _, port in lacking):
        having = sorted(name for name, ports in engines.items() if port in ports)
        yield f"engines that have '{port}': {', '.join(having) or 'none'}"
    names = dict.fromkeys(name for need, _ in lacking for name in need.by)
    if names:
        yield f"needed by {', '.join(names)}"
