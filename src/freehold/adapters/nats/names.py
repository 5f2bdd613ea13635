"""The names of streams, subjects and records in NATS. Adapter: imports the leases pattern and errors.

The groups' records lie in a stream that is laid out as a key-value bucket, so that the `nats kv` tool shows them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from freehold.errors import ConfigurationError
from freehold.leases.log import Place

__all__ = ["Names"]

_TOKEN = re.compile(r"[A-Za-z0-9_-]+")
_DOTTED = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")


@dataclass(frozen=True, slots=True)
class Names:
    """Names under a prefix. Raises `ConfigurationError` for what NATS would not take."""

    prefix: str

    def __post_init__(self) -> None:
        """Refuse a prefix that cannot name a stream."""
        if not _TOKEN.fullmatch(self.prefix):
            raise ConfigurationError("the broker's prefix must be letters, digits, '-' and '_' for NATS")

    @property
    def log(self) -> str:
        """The stream of messages."""
        return self.prefix

    @property
    def bucket(self) -> str:
        """The stream of the groups' records."""
        return f"KV_{self.prefix}-groups"

    @property
    def records(self) -> str:
        """What the subjects of all records begin with."""
        return f"$KV.{self.prefix}-groups"

    def message(self, place: Place) -> str:
        """The subject of a place's messages."""
        return f"{self.prefix}.log.{self.dotted(place.topic)}.{place.partition}"

    def group(self, group: str) -> str:
        """What the subjects of a group's records begin with."""
        if not _TOKEN.fullmatch(group):
            raise ConfigurationError("a group's name must be letters, digits, '-' and '_' for NATS")
        return f"{self.records}.{group}"

    def place(self, group: str, place: Place) -> str:
        """The subject of a place's record."""
        return f"{self.group(group)}.place.{self.dotted(place.topic)}.{place.partition}"

    def member(self, group: str, member: str) -> str:
        """The subject of a member's beat."""
        return f"{self.group(group)}.member.{member}"

    def wake(self, group: str) -> str:
        """The subject on which members tell each other to look at the leases."""
        return f"{self.prefix}.wake.{group}"

    def read_place(self, group: str, subject: str) -> Place | None:
        """Return the place whose record this is."""
        start = f"{self.group(group)}.place."
        if not subject.startswith(start):
            return None
        topic, _, partition = subject.removeprefix(start).rpartition(".")
        return Place(topic, int(partition))

    def read_member(self, group: str, subject: str) -> str | None:
        """Return the member whose beat this is."""
        start = f"{self.group(group)}.member."
        return subject.removeprefix(start) if subject.startswith(start) else None

    @staticmethod
    def carries(topic: str) -> bool:
        """Whether a topic may be part of a subject."""
        return _DOTTED.fullmatch(topic) is not None

    @staticmethod
    @lru_cache(maxsize=1024)
    def dotted(topic: str) -> str:
        """Return a topic that may be part of a subject."""
        if not _DOTTED.fullmatch(topic):
            raise ConfigurationError("a topic must be letters, digits, '-', '_' and single dots for NATS")
        return topic

    def log_config(self, retention_seconds: float, partitions: int) -> Mapping[str, Any]:
        """How the stream of messages is made."""
        return {
            "name": self.log,
            "description": f"partitions={partitions}",
            "subjects": [f"{self.prefix}.log.>"],
            "storage": "file",
            "retention": "limits",
            "discard": "old",
            "max_age": int(retention_seconds * 1e9),
            "duplicate_window": int(min(120.0, retention_seconds) * 1e9),
            "allow_direct": True,
            "num_replicas": 1,
        }

    def bucket_config(self) -> Mapping[str, Any]:
        """How the stream of records is made: one value a subject."""
        return {
            "name": self.bucket,
            "subjects": [f"{self.records}.>"],
            "storage": "file",
            "discard": "new",
            "max_msgs_per_subject": 1,
            "allow_direct": True,
            "allow_rollup_hdrs": True,
            "deny_delete": True,
            "num_replicas": 1,
        }
