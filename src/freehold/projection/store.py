"""The checkpoint port. Pattern: imports the foundation and the database port."""

from __future__ import annotations

from typing import Protocol

__all__ = ["CheckpointStore"]


class CheckpointStore(Protocol):
    """Where the progress of projections is kept: beside the read model, in the service's own database."""
