"""Puts the saga engine beside a service that directs sagas. Runtime: imports the patterns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from freehold.binding import Stores
from freehold.inbox.handler import ReplyHandler
from freehold.lifecycle import Runner
from freehold.service import Service
from freehold.transaction import Post, SagaStarter

__all__ = ["NO_SAGAS", "SagaWiring", "wire_sagas"]


@dataclass(frozen=True, slots=True)
class SagaWiring:
    """What the other loops need of the saga engine; all of it is missing in a service that directs no saga."""

    replies: ReplyHandler | None
    start: SagaStarter | None
    loops: Callable[[], list[Runner]]


NO_SAGAS = SagaWiring(replies=None, start=None, loops=list)


def wire_sagas(service: Service, post: Post, stores: Stores) -> SagaWiring:
    """Make the engine for the sagas that a service directs."""
    return NO_SAGAS
