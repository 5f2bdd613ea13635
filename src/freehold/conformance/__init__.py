"""Conformance suites: what every adapter of a port must do, as test classes to bind. Needs pytest and
pytest-asyncio.
"""
