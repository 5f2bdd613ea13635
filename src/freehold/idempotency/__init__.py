"""Stored responses by Idempotency-Key: a request that comes again gets the answer of the first."""
