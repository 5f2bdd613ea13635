"""The suite of an adapter's declaration of its ports. An adapter binds it by a test class with a fixture `stores` that
returns its stores; they need not be open.
"""

from __future__ import annotations

import inspect
from typing import Any

from freehold.ports import Port, Stores

__all__ = ["AdapterConformance"]


class AdapterConformance:
    """What the declaration of an adapter must keep."""

    def test_every_store_has_all_methods_of_its_port(self, stores: Stores) -> None:
        """A store inherits from its protocol: a missing method would be the protocol's, which does nothing. A method
        that does something there is right for each engine that has nothing better.
        """
        assert {port.name: _lacking(port, stores[port]) for port in stores} == {port.name: [] for port in stores}

    def test_a_store_is_made_once(self, stores: Stores) -> None:
        """A second request returns the same store, so that it may cache."""
        assert [port.name for port in stores if stores[port] is not stores[port]] == []

    def test_no_two_ports_share_a_name(self, stores: Stores) -> None:
        """Messages and documents identify a port by its name."""
        names = [port.name for port in stores]
        assert len(set(names)) == len(names) > 0


def _lacking(port: Port[Any], store: object) -> list[str]:
    wanted = {
        name: member
        for name, member in inspect.getmembers(port.protocol)
        if not name.startswith("_") and (inspect.isfunction(member) or isinstance(member, property))
    }
    kind = type(store)
    return [name for name, member in wanted.items() if getattr(kind, name, member) is member and _is_empty(member)]


def _is_empty(member: Any) -> bool:
    """Whether a method or property of a protocol has a docstring and nothing else."""
    function: Any = member.fget if isinstance(member, property) else member
    return function.__code__.co_code in {_nothing.__code__.co_code, _nothing_async.__code__.co_code}


def _nothing() -> None:
    """As a method of a protocol."""


async def _nothing_async() -> None:
    """As an asynchronous method of a protocol."""
