"""The topics that the services of a system publish to and read, from their declarations. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence

from freehold.broker import BrokerRights
from freehold.messages import MessageType
from freehold.schema.asyncapi import requests_of
from freehold.service import Service

__all__ = ["broker_rights"]


def broker_rights(services: Sequence[Service]) -> list[BrokerRights]:
    """The rights of each service. It may reply to those of `services` whose sagas send it commands.

    A service may always publish events and send commands to itself, also where it declares none.
    """
    requests = {service.name: requests_of(service) for service in services}
    return [
        BrokerRights(service.name, _published(service, requests), service.topics)
        for service in sorted(services, key=lambda each: each.name)
    ]


def _published(service: Service, requests: dict[str, set[MessageType]]) -> frozenset[str]:
    own = {f"{service.name}.events", f"{service.name}.commands"}
    sent = {each.topic for each in (*requests[service.name], *service.sent)}
    asked = {f"{name}.replies" for name, asks in requests.items() for each in asks if each.service == service.name}
    return frozenset(own | sent | asked)
