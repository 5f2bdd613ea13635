"""Conformance suites: the tests that every adapter of a port must pass, as classes to bind. Needs pytest and
pytest-asyncio.
"""
