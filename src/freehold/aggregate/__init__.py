"""Aggregates: consistency units whose truth is their stream of events."""
