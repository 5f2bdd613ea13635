"""Projections: read models that follow the events of the service's own store."""

from freehold.projection.declaration import DecodedEvent, KeyLookup, Projection, ProjectionContext, Sink, SinkEvent
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
    "Checkpoint",
    "CheckpointStore",
    "DecodedEvent",
    "Generation",
    "GenerationState",
    "KeyLookup",
    "MaterializedView",
    "ParkedStream",
    "Projection",
    "ProjectionContext",
    "Sink",
    "SinkEvent",
]
