from __future__ import annotations

from tests.conformance.engines import OnMemory

from freehold.conformance.transaction import TransactionConformance


class TestTransactionOnMemory(OnMemory, TransactionConformance):
    pass
