"""Creates missing streams. Adapter: imports its package."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from freehold.adapters.nats.connection import NatsConnection
from freehold.adapters.nats.errors import NAME_IN_USE, STREAM_NOT_FOUND, ApiError
from freehold.adapters.nats.names import Names

__all__ = ["ensure_stream", "read_groups"]


async def ensure_stream(connection: NatsConnection, config: Mapping[str, Any]) -> tuple[Mapping[str, Any], bool]:
    """Create the stream where it is missing. Returns its state, and whether this call created it.

    Of several processes the first one creates it. Raises `ApiError`, `Unavailable`.
    """
    name = config["name"]
    try:
        return await connection.ask(f"STREAM.INFO.{name}"), False
    except ApiError as error:
        if error.number != STREAM_NOT_FOUND:
            raise
    try:
        return await connection.ask(f"STREAM.CREATE.{name}", config), True
    except ApiError as raced:
        if raced.number != NAME_IN_USE:
            raise
    return await connection.ask(f"STREAM.INFO.{name}"), False


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
