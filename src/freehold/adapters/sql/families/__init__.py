"""Statements that engines write in different ways: claim, prune, upsert, key lock.

A store says what it wants; a family writes it as the engine of the dialect takes it. An engine that knows none of the
forms here gets one more in these modules, and no store changes. They import the engine's `connection` and `dialect`,
and each other.
"""
