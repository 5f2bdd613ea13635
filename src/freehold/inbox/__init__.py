"""Idempotent inbox: receipts in the handler's transaction, deferred messages, and the runners that call handlers."""
