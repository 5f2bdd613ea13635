"""Reconciliation: compares a service's replicas with their source, and repairs drift."""

from freehold.reconcile.dataset import Dataset, DatasetTable, Replica
from freehold.reconcile.field_value import FieldKind
from freehold.reconcile.reconciler import Drift, DriftKind, Reconciler, Reconciliation

__all__ = ["Dataset", "DatasetTable", "Drift", "DriftKind", "FieldKind", "Reconciler", "Reconciliation", "Replica"]
