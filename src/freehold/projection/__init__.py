"""Projections: read models that follow the events of the service's own store."""
