"""Which log it is that positions belong to. Adapter: imports the driver and its package.

A position is a number of one stream. Where the stream was deleted and made again, or lost its end with the server's
disk, the same numbers are given again, and whoever kept a position would silently pass over messages that he has never
seen. So each record tells when its stream was made; one that does not fit begins again, and receipts absorb what comes
twice.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from nats.aio.msg import Msg

from freehold.adapters.nats.connection import NatsConnection
from freehold.adapters.nats.errors import ApiError, NobodyAnswers, as_outage
from freehold.adapters.nats.names import Layout, Names
from freehold.adapters.nats.snapshot import snapshot
from freehold.adapters.nats.streams import read_groups

__all__ = ["LogIdentity", "count_strangers", "read_identity"]


@dataclass(frozen=True, slots=True)
class LogIdentity:
    """When the stream was made, as the server says it, in nanoseconds; the numbers of its first and last message; its
    layout; and when the last message was stored.
    """

    made_at: str
    first: int
    last: int
    layout: Layout
    last_at: str = ""

    @property
    def mark(self) -> str:
        """The last message: its number and its time."""
        return f"{self.last} {self.last_at}"

    def has_come_to(self, mark: str) -> bool:
        """Whether the log has given the number of a mark; to the same message, where that is the last one."""
        number, _, stored_at = mark.partition(" ")
        if not number.isdecimal():
            return True
        return self.last > int(number) or (self.last == int(number) and self.last_at == stored_at)

    def knows(self, record: Msg) -> bool:
        """Whether the position in a place's record is one of this log."""
        value = json.loads(record.data)
        return bool(value.get("log") == self.made_at and value["position"] <= self.last)


async def count_strangers(connection: NatsConnection, names: Names, timeout_seconds: float) -> int | None:
    """How many records hold positions of another log; those of groups that run here are begun again by themselves.

    None where the server does not name the groups to these credentials. Raises `Unavailable`.
    """
    try:
        groups = await read_groups(connection, names)
    except NobodyAnswers:
        return None
    found = [
        record
        for group in groups
        for _, record in await snapshot(
            connection, names.bucket(group), f"{names.group(group)}.place.>", timeout_seconds
        )
    ]
    identity = await read_identity(connection, names)
    return sum(not identity.knows(record) for record in found)


async def read_identity(connection: NatsConnection, names: Names) -> LogIdentity:
    """Ask the server. Raises `StreamGone`, `Unavailable`: nothing may be read or saved then."""
    try:
        info = await connection.ask(f"STREAM.INFO.{names.log}")
    except ApiError as error:
        raise as_outage(error, "NATS does not tell of the log") from error
    first, last = int(info["state"]["first_seq"]), int(info["state"]["last_seq"])
    return LogIdentity(
        str(info["created"]), first, last, Layout.read(info["config"]), str(info["state"].get("last_ts", ""))
    )
