"""Leases: who works on what, fenced by tokens, shared fairly between instances."""
