"""Schemas: the catalogue of what services publish and understand, what breaks it, and AsyncAPI. Runtime: imports the
messages and the declared services; opens no connection.
"""

from freehold.schema.rights import broker_rights

__all__ = ["broker_rights"]
