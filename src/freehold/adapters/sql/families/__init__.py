"""Statements that engines write in different ways: claim, prune, upsert, key lock.

A store passes the parts of a statement, and a family writes it for the engine of the dialect. An engine that has none
of these forms gets a new one here, and no store changes. The modules import the engine's `connection` and `dialect`,
and each other.
"""
