"""The checks of `freehold doctor` on sagas. Pattern: imports the ports and its package."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Final

from freehold.context import ServiceContext
from freehold.database import CheckResult
from freehold.errors import CodecError
from freehold.saga.document import read_hook_failure
from freehold.saga.store import SAGAS, SagaFilter, SagaRecord, SagaStatus

__all__ = ["probe"]

_IN_FLIGHT: Final = (SagaStatus.RUNNING, SagaStatus.COMPENSATING, SagaStatus.NEEDS_ATTENTION)
_RECORDS_MAX: Final = 1000
_WAITING: Final = "freehold saga list --status needs-attention"


async def probe(context: ServiceContext, declared: Collection[tuple[str, int]]) -> Sequence[CheckResult]:
    """Check that the definition of every instance in flight is in `declared`, and that none waits for an operator.
    Raises `Unavailable`.
    """
    found: list[CheckResult] = []
    unknown: Counter[tuple[str, int]] = Counter()
    for status in _IN_FLIGHT:
        records = await context.stores[SAGAS].find(SagaFilter(status=status, limit=_RECORDS_MAX))
        unknown.update(key for each in records if (key := _definition_of(each)) not in declared)
        if status is SagaStatus.NEEDS_ATTENTION and records:
            detail = f"{len(records)} instances wait for an operator{_most_frequent(records)}"
            found.append(CheckResult("sagas", ok=False, detail=detail, fix=_WAITING))
    for (name, version), number in unknown.items():
        detail = f"{number} instances in flight of '{name}' version {version}, which is not declared here"
        found.append(CheckResult("sagas", ok=False, detail=detail, fix="declare that version until they have ended"))
    return found or [CheckResult("sagas", ok=True, detail="every instance in flight has its definition")]


def _definition_of(record: SagaRecord) -> tuple[str, int]:
    return record.definition, record.definition_version


def _most_frequent(records: Sequence[SagaRecord]) -> str:
    """The most frequent hook failure, with its number; empty where no hook fails."""
    failures: Counter[str] = Counter()
    for record in records:
        with contextlib.suppress(CodecError):
            failures.update(str(failing) for failing in [read_hook_failure(record)] if failing is not None)
    return "".join(f"; {number} of them: {failure}" for failure, number in failures.most_common(1))
