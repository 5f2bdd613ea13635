"""Reconciliation: what a service copied from another is compared with its source, and drift is repaired."""

from freehold.reconcile.dataset import Dataset, DatasetTable, Replica
from freehold.reconcile.field_value import FieldKind
from freehold.reconcile.reconciler import Drift, DriftKind, Reconciler, Reconciliation

__all__ = ["Dataset", "DatasetTable", "Drift", "DriftKind", "FieldKind", "Reconciler", "Reconciliation", "Replica"]
