"""Aggregates: consistency units whose truth is their stream of events."""

from freehold.aggregate.classes import Aggregate, applies, decides
from freehold.aggregate.decider import Decider
from freehold.aggregate.loading import Loaded
from freehold.aggregate.repository import Executed, Repository, VersionMismatch
from freehold.aggregate.snapshots import SnapshotPolicy

__all__ = [
    "Aggregate",
    "Decider",
    "Executed",
    "Loaded",
    "Repository",
    "SnapshotPolicy",
    "VersionMismatch",
    "applies",
    "decides",
]
