"""Aggregates: consistency units whose truth is their stream of events."""

from freehold.aggregate.base import Aggregate, applies, decides
from freehold.aggregate.decider import Decider
from freehold.aggregate.loader import Loaded
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
