"""Transactional outbox: messages staged with the business transaction, moved to the broker by relays."""

from freehold.outbox.store import OUTBOX, OutboxStats, OutboxStore, StagedMessage, UnsentMessage

__all__ = ["OUTBOX", "OutboxStats", "OutboxStore", "StagedMessage", "UnsentMessage"]
