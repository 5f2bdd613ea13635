"""Metrics for Prometheus, of running services and of their databases."""

from freehold.telemetry.database_reader import DatabaseReader
from freehold.telemetry.exposition import CONTENT_TYPE, exposed
from freehold.telemetry.families import declared_families
from freehold.telemetry.service_metrics import database_metrics, process_metrics

__all__ = ["CONTENT_TYPE", "DatabaseReader", "database_metrics", "declared_families", "exposed", "process_metrics"]
