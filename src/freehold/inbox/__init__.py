"""Idempotent inbox: receipts in the handler's transaction, deferral of what failed, and the consumer that drives
handlers.
"""
