"""The records of a group as this member knows them, so that they are read only where somebody else has changed one.
Adapter: imports its package.

The server counts the changes of a bucket, and each change gets the next number. A member that knows every number up to
the last one, because it has read it or has made the change itself, knows all records:

    t1  M reads all records; the bucket is at 40
    t2  M sends a heartbeat: 41, and moves the position of a partition: 42
    t3  the bucket is at 42: M knows all of it, and reads nothing
    t4  N joins: 43
    t5  the bucket is at 43: M does not know that number, and reads all records

A record that was purged takes no number, but is missing in the bucket's count of records. A server that comes back with
an older copy gives the same numbers again: after a break of the connection everything is read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from freehold.adapters.nats.connection import NatsConnection
from freehold.adapters.nats.names import Names
from freehold.adapters.nats.snapshot import snapshot

__all__ = ["GroupRecords", "Record"]

_UNCONFIRMED_MAX: Final = 10_000


class Record(NamedTuple):
    """The last message of a subject of the bucket, with its number there."""

    number: int
    subject: str
    data: bytes


class GroupRecords:
    """Reads the records of one group. `wrote` is to be called for each confirmed change of this member."""

    def __init__(self, connection: NatsConnection, names: Names, group: str, timeout_seconds: float) -> None:
        self.whole_reads = 0
        """How often everything was read from the server."""
        self._connection = connection
        self._bucket = names.bucket(group)
        self._subject = f"{names.group(group)}.>"
        self._timeout_seconds = timeout_seconds
        self._made_at = ""
        self._epoch = 0
        self._through = 0
        self._known: dict[str, Record] = {}
        self._written: dict[int, Record] = {}

    def forget(self) -> None:
        """Read everything the next time."""
        self._made_at = ""
        self._epoch += 1
        self._written.clear()

    def wrote(self, number: int, subject: str, data: bytes) -> None:
        """Note a change that this member has made, and that the server has confirmed with this number."""
        if len(self._written) >= _UNCONFIRMED_MAX:
            self.forget()
        self._written[number] = Record(number, subject, data)

    async def read(self, bucket: Mapping[str, Any]) -> Sequence[Record]:
        """All records, at least as new as this state of the bucket, which the server has just reported. Raises
        `Unavailable`.
        """
        made_at, state = str(bucket["created"]), bucket["state"]
        last, count = int(state["last_seq"]), int(state["messages"])
        if self._made_at not in {"", made_at}:
            self.forget()  # the numbers of its changes are those of another bucket
        self._apply()
        if self._made_at and self._through >= last and len(self._known) == count:
            return list(self._known.values())
        self.whole_reads += 1
        epoch = self._epoch
        found = await snapshot(self._connection, self._bucket, self._subject, self._timeout_seconds)
        self._known = {message.subject: Record(number, message.subject, message.data) for number, message in found}
        self._made_at, self._through = made_at if epoch == self._epoch else "", last
        self._apply()
        return list(self._known.values())

    def _apply(self) -> None:
        """Take in the own changes that follow without a gap."""
        for number in sorted(self._written):
            if number > self._through + 1:
                break
            record = self._written.pop(number)
            self._through = max(self._through, number)
            known = self._known.get(record.subject)
            if known is None or known.number < number:
                self._known[record.subject] = record
