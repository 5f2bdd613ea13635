"""Scheduled messages: durable, cancellable, and moved to the outbox when they are due."""
