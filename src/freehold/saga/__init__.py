"""Orchestrated sagas: declared steps with compensations, run as a persisted state machine."""
