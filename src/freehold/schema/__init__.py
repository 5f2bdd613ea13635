"""Message schemas: the catalogue of messages and consumers, the check for breaking changes, and AsyncAPI. Runtime:
imports the messages and the declared services; opens no connection.
"""

from freehold.schema.rights import broker_rights

__all__ = ["broker_rights"]
