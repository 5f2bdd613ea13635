"""Aggregates: consistency units whose state is computed from their stream of events."""

from freehold.aggregate.base import Aggregate, applies, decides
from freehold.aggregate.decider import Decider
from freehold.aggregate.loader import LoadedAggregate
from freehold.aggregate.repository import CommandResult, Repository, VersionMismatch
from freehold.aggregate.snapshots import SnapshotPolicy

__all__ = [
    "Aggregate",
    "CommandResult",
    "Decider",
    "LoadedAggregate",
    "Repository",
    "SnapshotPolicy",
    "VersionMismatch",
    "applies",
    "decides",
]
