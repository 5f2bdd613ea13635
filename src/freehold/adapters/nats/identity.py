"""The identity of the log that positions belong to. Adapter: imports the driver and its package.

A position is a number of one stream. A stream that was deleted and created again, or lost its end with the server's
disk, gives the same numbers again. A group with an old position would then skip messages that it has never read,
without an error. So each record contains the time when its stream was created. A record of another stream starts again
from the beginning, and receipts absorb duplicates.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from freehold.adapters.nats.connection import NatsConnection
from freehold.adapters.nats.errors import ApiError, NobodyAnswers, as_outage
from freehold.adapters.nats.names import Layout, Names
from freehold.adapters.nats.snapshot import snapshot
from freehold.adapters.nats.streams import read_groups

__all__ = ["LogIdentity", "count_strangers", "read_identity"]


@dataclass(frozen=True, slots=True)
class LogIdentity:
    """The state of the stream.

    made_at      the time when it was created, as the server prints it, with nanoseconds.
    first, last  the numbers of its first and last message.
    last_at      the time when the last message was stored.
    """

    made_at: str
    first: int
    last: int
    layout: Layout
    last_at: str = ""

    @property
    def mark(self) -> str:
        """The number and time of the last message."""
        return f"{self.last} {self.last_at}"

    def has_come_to(self, mark: str) -> bool:
        """Whether the log has given a mark's number to a message; to the same message, where that is the last one."""
        number, _, stored_at = mark.partition(" ")
        if not number.isdecimal():
            return True
        return self.last > int(number) or (self.last == int(number) and self.last_at == stored_at)

    def knows(self, record: bytes) -> bool:
        """Whether the position in a partition's record belongs to this log."""
        value = json.loads(record)
        return bool(value.get("log") == self.made_at and value["position"] <= self.last)


async def count_strangers(connection: NatsConnection, names: Names, timeout_seconds: float) -> int | None:
    """The number of records with a position of another log. Running groups correct theirs by themselves.

    None where these credentials may not list the groups. Raises `Unavailable`.
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
    return sum(not identity.knows(record.data) for record in found)


async def read_identity(connection: NatsConnection, names: Names) -> LogIdentity:
    """Read the identity from the server. Raises `StreamGone`, `Unavailable`: nothing may be read or saved then."""
    try:
        info = await connection.ask(f"STREAM.INFO.{names.log}")
    except ApiError as error:
        raise as_outage(error, "NATS cannot report the state of the log") from error
    first, last = int(info["state"]["first_seq"]), int(info["state"]["last_seq"])
    return LogIdentity(
        str(info["created"]), first, last, Layout.read(info["config"]), str(info["state"].get("last_ts", ""))
    )
