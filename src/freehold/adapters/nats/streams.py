"""Creates missing streams. Adapter: imports its package.

Servers before 2.10.2 may carry out two requests for one name that come at the same moment. Both succeed, and the later
stream replaces the earlier one, which goes on to confirm messages that nobody can read until the server is restarted:

    t1  A and B ask: neither finds the stream
    t2  A gets its stream, with A's configuration
    t3  B gets its stream: the server knows this one by the name from now on

So on such a server those that miss a stream ask for it at different times, and look again before. The answer to a
request is not believed, but what the server says of the name, twice, some time apart.
"""

from __future__ import annotations

import asyncio
import logging
import random
import re
from collections.abc import Mapping
from typing import Any, Final

from freehold.adapters.nats.connection import NatsConnection
from freehold.adapters.nats.errors import NAME_IN_USE, STREAM_NOT_FOUND, ApiError
from freehold.adapters.nats.names import Names

__all__ = ["ensure_stream", "read_groups"]

_log = logging.getLogger("freehold.nats")
_CREATES_ONE: Final = (2, 10, 2)
_SPREAD_SECONDS: Final = 0.05
_SETTLED_SECONDS: Final = 0.03
"""A hundred times as long as the second of two requests was seen to take after the first."""
_LOOKS: Final = 5


async def ensure_stream(connection: NatsConnection, config: Mapping[str, Any]) -> tuple[Mapping[str, Any], bool]:
    """Create the stream where it is missing. Returns its state, and whether this call created it.

    Of several processes the first one creates it. Raises `ApiError`, `Unavailable`.
    """
    name = config["name"]
    alone = _creates_one(connection.server_version)
    found = await _find(connection, name)
    if found is None and not alone:
        await asyncio.sleep(random.uniform(0.0, _SPREAD_SECONDS))  # others ask at this moment
        found = await _find(connection, name)
    if found is not None:
        return found, False
    made: Mapping[str, Any] | None = None
    try:
        made = await connection.ask(f"STREAM.CREATE.{name}", config)
    except ApiError as raced:
        if raced.number != NAME_IN_USE:
            raise
    if alone and made is not None:
        return made, True
    found = await connection.ask(f"STREAM.INFO.{name}") if alone else await _settled(connection, name)
    if made is not None and made["created"] != found["created"]:
        _log.warning("NATS made the stream %s twice at the same moment; restart it, or use 2.10.2 or newer", name)
    return found, made is not None and made["created"] == found["created"]


async def _find(connection: NatsConnection, name: str) -> Mapping[str, Any] | None:
    try:
        return await connection.ask(f"STREAM.INFO.{name}")
    except ApiError as error:
        if error.number != STREAM_NOT_FOUND:
            raise
        return None


async def _settled(connection: NatsConnection, name: str) -> Mapping[str, Any]:
    """The state of a stream that was made just now, as soon as it is the same one for some time."""
    found = await connection.ask(f"STREAM.INFO.{name}")
    for _ in range(_LOOKS):
        before = found
        await asyncio.sleep(_SETTLED_SECONDS)  # the server tells nobody that it replaced a stream
        found = await connection.ask(f"STREAM.INFO.{name}")
        if found["created"] == before["created"]:
            break
    return found


def _creates_one(version: str) -> bool:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3]) >= _CREATES_ONE


async def read_groups(connection: NatsConnection, names: Names) -> list[str]:
    """The groups that have records. Raises `ApiError`, `Unavailable`."""
    groups: list[str] = []
    offset = 0
    while True:
        answer = await connection.ask("STREAM.NAMES", {"offset": offset})
        streams: list[str] = answer.get("streams") or []
        groups += [group for each in streams if (group := names.group_of(each)) is not None]
        offset += len(streams)
        if not streams or offset >= answer["total"]:
            return groups
