"""Stored responses by idempotency key: a repeated request gets the response of the first one."""
