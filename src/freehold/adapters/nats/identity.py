"""Which log it is that positions belong to. Adapter: imports the driver and its package.

A position is a number of one stream. Where the stream was deleted and made anew, or lost its end with the server's
disk, the same numbers are given again, and whoever kept a position would silently pass over messages that he has never
seen. So each record tells when its stream was made; one that does not fit begins anew, and receipts absorb what comes
twice.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from nats.aio.msg import Msg

from freehold.adapters.nats.connection import NatsConnection
from freehold.adapters.nats.errors import ApiError
from freehold.adapters.nats.names import Names
from freehold.adapters.nats.snapshot import snapshot
from freehold.errors import Unavailable

__all__ = ["LogIdentity", "count_strangers", "read_identity"]


@dataclass(frozen=True, slots=True)
class LogIdentity:
    """When the stream was made, as the server says it, and the number of its last message."""

    made_at: str
    last: int

    def knows(self, record: Msg) -> bool:
        """Whether the position in a place's record is one of this log."""
        value = json.loads(record.data)
        return bool(value.get("log") == self.made_at and value["position"] <= self.last)


async def count_strangers(connection: NatsConnection, names: Names, timeout_seconds: float) -> int:
    """How many records hold positions of another log; those of groups that run here are begun anew by themselves."""
    found = await snapshot(connection, names.bucket, f"{names.records}.*.place.>", timeout_seconds)
    identity = await read_identity(connection, names)
    return sum(not identity.knows(record) for _, record in found)


async def read_identity(connection: NatsConnection, names: Names) -> LogIdentity:
    """Ask the server. Raises `Unavailable`, also where there is no stream: nothing may be read or saved then."""
    try:
        info = await connection.ask(f"STREAM.INFO.{names.log}")
    except ApiError as error:
        raise Unavailable("the stream of this prefix is gone", hint="start a service: it makes the stream") from error
    return LogIdentity(made_at=str(info["created"]), last=int(info["state"]["last_seq"]))
