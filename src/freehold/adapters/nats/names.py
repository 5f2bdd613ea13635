"""The names of streams, subjects and records in NATS. Adapter: imports the groups pattern and errors.

Each group has a stream of its own for its records. It has the form of a key-value bucket, so that the `nats kv` tool
shows the records, and so that a server can grant a group the right to its records by the name of the stream alone. For
the same reason the names of consumers contain the group and the partition.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from freehold.errors import ConfigurationError
from freehold.groups.log import TopicPartition

__all__ = ["Layout", "Names"]

_TOKEN = re.compile(r"[A-Za-z0-9_-]+")
_DESCRIPTION = re.compile(r"partitions=(\d+)(?:; in place of one made (\S+))?")
_DOTTED = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")


@dataclass(frozen=True, slots=True)
class Layout:
    """The layout of the stream of messages, which is stored in the stream's configuration.

    base        the beginning of the messages' subjects. It contains the number of partitions: a process with another
                number finds no stream, so it never stores a key in a partition where no consumer expects it.
    replaces    the time when the stream was created that this one replaces; empty where it is not known.
    """

    base: str
    partitions: int
    replaces: str = ""

    @classmethod
    def read(cls, config: Mapping[str, Any]) -> Layout:
        """Read a stream's configuration. Raises `ConfigurationError` for one that Freehold did not make."""
        stored = _DESCRIPTION.fullmatch(str(config.get("description")))
        if stored is None:
            raise ConfigurationError("the stream of this prefix was not made by Freehold", hint="use another prefix")
        return cls(str(config["subjects"][0]).removesuffix(".>"), int(stored[1]), stored[2] or "")

    def message(self, place: TopicPartition) -> str:
        """The subject of a partition's messages."""
        return self.subject(place.topic, place.partition)

    def subject(self, topic: str, partition: int) -> str:
        """The same by topic and number."""
        return f"{self.base}.{Names.dotted(topic)}.{partition}"


@dataclass(frozen=True, slots=True)
class Names:
    """Names under a prefix. Raises `ConfigurationError` for names that NATS does not accept."""

    prefix: str

    def __post_init__(self) -> None:
        """Refuse a prefix that cannot name a stream."""
        if not _TOKEN.fullmatch(self.prefix):
            raise ConfigurationError("the broker's prefix must be letters, digits, '-' and '_' for NATS")

    @property
    def log(self) -> str:
        """The stream of messages."""
        return self.prefix

    def bucket(self, group: str) -> str:
        """The stream of a group's records."""
        return f"KV_{self._bucket(group)}"

    def group_of(self, stream: str) -> str | None:
        """Return the group whose records are in a stream; None for another stream."""
        start = f"KV_{self._bucket('')}"
        return stream.removeprefix(start) if stream.startswith(start) and stream != start else None

    def group(self, group: str) -> str:
        """The beginning of the subjects of a group's records."""
        if not _TOKEN.fullmatch(group):
            raise ConfigurationError("a group's name must be letters, digits, '-' and '_' for NATS")
        return f"$KV.{self._bucket(group)}"

    def place(self, group: str, place: TopicPartition) -> str:
        """The subject of a partition's record."""
        return f"{self.group(group)}.place.{self.dotted(place.topic)}.{place.partition}"

    def member(self, group: str, member: str) -> str:
        """The subject of a member's heartbeat."""
        return f"{self.group(group)}.member.{member}"

    def probe(self, name: str) -> str:
        """The subject of the record that a service writes to check the bucket."""
        return f"{self.group(name)}.probe"

    def wake(self, group: str) -> str:
        """The subject on which members notify each other of changes of the assignment."""
        return f"{self.prefix}.wake.{group}"

    def hint(self, service: str) -> str:
        """The subject of the hints of a service."""
        if not _TOKEN.fullmatch(service):
            raise ConfigurationError("a service's name must be letters, digits, '-' and '_' for NATS")
        return f"{self.prefix}.hint.{service}"

    def reader(self, group: str, place: TopicPartition) -> str:
        """The consumer by which a group reads a partition."""
        return f"{group}={self.dotted(place.topic).replace('.', '=')}={place.partition}"

    def counter(self, group: str, place: TopicPartition) -> str:
        """The consumer by which the unread messages of a group are counted."""
        return f"{self.reader(group, place)}=lag"

    def read_place(self, group: str, subject: str) -> TopicPartition | None:
        """Return the partition of a record's subject; None for another subject."""
        start = f"{self.group(group)}.place."
        if not subject.startswith(start):
            return None
        topic, _, partition = subject.removeprefix(start).rpartition(".")
        return TopicPartition(topic, int(partition))

    def read_member(self, group: str, subject: str) -> str | None:
        """Return the member of a heartbeat's subject; None for another subject."""
        start = f"{self.group(group)}.member."
        return subject.removeprefix(start) if subject.startswith(start) else None

    @staticmethod
    @lru_cache(maxsize=1024)
    def carries(topic: str) -> bool:
        """Whether a topic may be part of a subject."""
        return _DOTTED.fullmatch(topic) is not None

    @staticmethod
    @lru_cache(maxsize=1024)
    def dotted(topic: str) -> str:
        """Return a topic that may be part of a subject. Raises `ConfigurationError` for another one."""
        if not _DOTTED.fullmatch(topic):
            raise ConfigurationError("a topic must be letters, digits, '-', '_' and single dots for NATS")
        return topic

    def layout(self, partitions: int) -> Layout:
        """The layout of a stream of messages that does not exist yet."""
        return Layout(f"{self.prefix}.log.{partitions}", partitions)

    @property
    def bases(self) -> tuple[str, str]:
        """The beginnings of the messages' subjects for any number of partitions. A stream of before the first release
        has no number there.
        """
        return f"{self.prefix}.log.*", f"{self.prefix}.log"

    def log_config(self, retention_seconds: float, partitions: int, replaces: str = "") -> Mapping[str, Any]:
        """The configuration of the stream of messages; `replaces` is the time when the lost one was created."""
        return {
            "name": self.log,
            "description": self.description(partitions, replaces),
            "subjects": [f"{self.layout(partitions).base}.>"],
            "storage": "file",
            "retention": "limits",
            "discard": "old",
            "max_age": int(retention_seconds * 1e9),
            "duplicate_window": int(min(120.0, retention_seconds) * 1e9),
            "allow_direct": True,
            "num_replicas": 1,
        }

    @staticmethod
    def description(partitions: int, replaces: str) -> str:
        """The description in the configuration of a stream of messages, which stores its layout."""
        return f"partitions={partitions}" + (f"; in place of one made {replaces}" if replaces else "")

    def bucket_config(self, group: str) -> Mapping[str, Any]:
        """The configuration of the stream of a group's records, which keeps one value for each subject."""
        return {
            "name": self.bucket(group),
            "subjects": [f"{self.group(group)}.>"],
            "storage": "file",
            "discard": "new",
            "max_msgs_per_subject": 1,
            "allow_direct": True,
            "deny_delete": True,
            "num_replicas": 1,
        }

    def _bucket(self, group: str) -> str:
        return f"{self.prefix}-groups-{group}"
