"""Scheduled messages: durable, cancellable, moved to the outbox when due."""
