"""Projections: read models that follow the events of the service's own store."""

from freehold.projection.declaration import Applied, KeyLookup, Positioned, Projection, ProjectionWrite, Sink
from freehold.projection.store import (
    CHECKPOINTS,
    Checkpoint,
    CheckpointStore,
    Generation,
    GenerationState,
    ParkedStream,
)
from freehold.projection.view_store import VIEWS, MaterializedView

__all__ = [
    "CHECKPOINTS",
    "VIEWS",
    "Applied",
    "Checkpoint",
    "CheckpointStore",
    "Generation",
    "GenerationState",
    "KeyLookup",
    "MaterializedView",
    "ParkedStream",
    "Positioned",
    "Projection",
    "ProjectionWrite",
    "Sink",
]
