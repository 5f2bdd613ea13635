"""What an adapter of a database declares to have: the suite of the declaration itself.

An adapter binds it by a test class with a fixture `stores` that gives its stores, which need not be open.
"""

from __future__ import annotations

import inspect
from typing import Any

from freehold.ports import Port, Stores

__all__ = ["AdapterConformance"]


class AdapterConformance:
    """Binds to the stores of an adapter."""

    def test_every_store_has_all_methods_of_its_port(self, stores: Stores) -> None:
        """A store inherits its protocol: a method that it leaves out would be the protocol's, which does nothing."""
        assert {port.name: _lacking(port, stores[port]) for port in stores} == {port.name: [] for port in stores}

    def test_a_store_is_made_once(self, stores: Stores) -> None:
        """Whoever asks twice gets the same one: it may keep what it knows."""
        assert [port.name for port in stores if stores[port] is not stores[port]] == []

    def test_no_two_ports_share_a_name(self, stores: Stores) -> None:
        """A name is what people and documents call the port by."""
        names = [port.name for port in stores]
        assert len(set(names)) == len(names) > 0


def _lacking(port: Port[Any], store: object) -> list[str]:
    wanted = {
        name: member
        for name, member in inspect.getmembers(port.protocol)
        if not name.startswith("_") and (inspect.isfunction(member) or isinstance(member, property))
    }
    kind = type(store)
    return [name for name, member in wanted.items() if getattr(kind, name, member) is member]
