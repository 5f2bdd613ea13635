"""Orchestrated sagas: declared steps with compensations, run as a persisted state machine.

A service uses `definition.py` and `steps.py`. `machine.py` holds the protocol and its reasons, `engine.py` and
`saga_runner.py` carry it out, and `store.py` is the port.
"""

from freehold.saga.definition import Saga, SagaDefinition
from freehold.saga.engine import SagaEngine, UnknownSaga
from freehold.saga.instance import DecisionRefused
from freehold.saga.saga_runner import SagaRunner
from freehold.saga.steps import CallContext, call, local, step
from freehold.saga.store import SAGAS, JournalEntry, SagaFilter, SagaRecord, SagaStatus, SagaStore
from freehold.saga.timeline import problem

__all__ = [
    "SAGAS",
    "CallContext",
    "DecisionRefused",
    "JournalEntry",
    "Saga",
    "SagaDefinition",
    "SagaEngine",
    "SagaFilter",
    "SagaRecord",
    "SagaRunner",
    "SagaStatus",
    "SagaStore",
    "UnknownSaga",
    "call",
    "local",
    "problem",
    "step",
]
