"""Transactional outbox: messages staged with the business transaction, moved to the broker by relays."""
