"""Leases: who works on what, fenced by tokens, shared fairly between instances."""

from freehold.leases.store import LEASES, LeaseRecord, LeaseStore

__all__ = ["LEASES", "LeaseRecord", "LeaseStore"]
