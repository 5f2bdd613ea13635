"""Messages for tests of schemas, in a registry of their own: nothing is left behind for others."""

from __future__ import annotations

from typing import Any

from freehold.messages import MessageKind, MessageType, Registry, Upcasters
from freehold.schema.catalogue import Catalogue, catalogue_of
from freehold.schema.check import BreakingChange, Compatibility, Report, check
from freehold.service import Service

__all__ = ["catalogued", "declared", "findings", "report"]


def declared(
    cls: type[Any], name: str = "orders.placed", version: int = 1, kind: str = "event", key: str | None = None
) -> MessageType:
    return MessageType(name=name, version=version, kind=MessageKind(kind), cls=cls, key=key)


def catalogued(
    *messages: MessageType, services: tuple[Service, ...] = (), upcasts: Upcasters | None = None
) -> Catalogue:
    types = Registry()
    for each in messages:
        types.add(each)
    return catalogue_of(services or (Service("orders"),), types, upcasts or Upcasters(types))


def report(before: Catalogue, now: Catalogue, compatibility: str = "full") -> Report:
    return check(before, now, Compatibility(compatibility))


def findings(before: type[Any], now: type[Any], compatibility: str = "full") -> list[BreakingChange]:
    return list(report(catalogued(declared(before)), catalogued(declared(now)), compatibility).findings)
