"""Freehold's tables on PostgreSQL, one file a pattern, applied in order of name. No code: read as package data."""
