"""Orchestrated sagas: declared steps with compensations, run as a persisted state machine.

`definition.py` and `steps.py` are what a service writes; `machine.py` holds the protocol and the reasons for it;
`engine.py` and `runner.py` carry it out; `store.py` is the port.
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
