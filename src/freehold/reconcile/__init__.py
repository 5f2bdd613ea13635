"""Reconciliation: what a service copied from another is compared with its source, and drift is repaired."""

from freehold.reconcile.dataset import Copy, Dataset, Offer
from freehold.reconcile.reconciler import Drift, DriftKind, Reconciler, Reconciliation

__all__ = ["Copy", "Dataset", "Drift", "DriftKind", "Offer", "Reconciler", "Reconciliation"]
