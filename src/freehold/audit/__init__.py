"""Audit: who did what by command, and why."""
