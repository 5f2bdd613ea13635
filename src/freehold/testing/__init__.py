"""Helpers for tests of services built on Freehold: exploring sagas through all failures of their steps."""
