"""Reconciliation: what a service copied from another is compared with its source, and drift is repaired."""

from freehold.reconcile.dataset import Copy, Dataset, Offer
from freehold.reconcile.field_value import FieldKind
from freehold.reconcile.reconciler import Drift, DriftKind, Reconciler, Reconciliation

__all__ = ["Copy", "Dataset", "Drift", "DriftKind", "FieldKind", "Offer", "Reconciler", "Reconciliation"]
