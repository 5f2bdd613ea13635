"""In which order several processes run the tests: the long ones first, a share for each, and the short ones behind.

With `--dist worksteal` each process begins with a part of the list, and who is done takes half of what another has
left, from its end. So files that take long, and share what takes long to start, stay whole, and the end of the run is
of tests that are quick to divide. A file that is not listed is taken for short; nothing depends on the figures but the
time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Protocol, TypeVar

__all__ = ["SECONDS", "spread"]

SECONDS: Final[Mapping[str, float]] = {
    "tests/conformance/broker/test_embedded.py": 25,
    "tests/conformance/broker/test_nats.py": 25,
    "tests/conformance/sql/test_in_a_schema.py": 40,
    "tests/conformance/sql/test_plans.py": 25,
    "tests/conformance/sql/test_plans_on_postgres.py": 10,
    "tests/conformance/sql/test_through_pgbouncer.py": 60,
    "tests/docs/test_generated.py": 20,
    "tests/docs/test_pages.py": 60,
    "tests/docs/test_site.py": 10,
    "tests/integration/adopting/test_under_load.py": 90,
    "tests/integration/aggregate/test_conflicts.py": 15,
    "tests/integration/aggregate/test_machine.py": 25,
    "tests/integration/cli/test_doctor.py": 60,
    "tests/integration/cli/test_outages.py": 30,
    "tests/integration/cli/test_projections.py": 50,
    "tests/integration/cli/test_resend.py": 40,
    "tests/integration/cli/test_running.py": 50,
    "tests/integration/cli/test_schema.py": 40,
    "tests/integration/cli/test_whose_database.py": 35,
    "tests/integration/consistency/test_chain.py": 30,
    "tests/integration/eventstore/test_crash.py": 15,
    "tests/integration/health/test_probe.py": 20,
    "tests/integration/health/test_readiness.py": 35,
    "tests/integration/projection/test_rebuild_killed.py": 50,
    "tests/integration/projection/test_takeover.py": 40,
    "tests/integration/runtime/test_death.py": 40,
    "tests/integration/runtime/test_exactly_once.py": 50,
    "tests/integration/runtime/test_frozen.py": 50,
    "tests/integration/runtime/test_several_processes.py": 30,
    "tests/integration/saga/test_saga_crashes.py": 50,
    "tests/integration/saga/test_saga_killed.py": 30,
    "tests/integration/shop/ops/test_command.py": 50,
    "tests/integration/shop/ops/test_faults.py": 40,
    "tests/integration/shop/ops/test_parts.py": 20,
    "tests/integration/shop/ops/test_running.py": 90,
    "tests/integration/shop/ops/test_servers_mariadb.py": 50,
    "tests/integration/shop/ops/test_servers_profile.py": 60,
    "tests/integration/shop/replay/test_replay.py": 120,
    "tests/integration/shop/services/test_checkout.py": 30,
    "tests/integration/shop/services/test_fresh_reads.py": 40,
    "tests/integration/shop/verify/test_verify.py": 40,
    "tests/integration/sql/test_upgrade.py": 20,
    "tests/unit/runtime/test_runners_seen.py": 20,
}
"""About how long the files take that take long, on two busy cores."""


class _Item(Protocol):
    @property
    def nodeid(self) -> str: ...


Found = TypeVar("Found", bound=_Item)


def spread(items: Sequence[Found], workers: int) -> list[Found]:
    """The same items, so that equal parts of the list, one for each worker, begin with about as much that is long."""
    files: dict[str, list[Found]] = {}
    short: list[Found] = []
    for item in items:
        file = item.nodeid.partition("::")[0]
        (files.setdefault(file, []) if file in SECONDS else short).append(item)
    sizes = [(len(items) + number) // workers for number in range(workers)]
    parts: list[list[Found]] = [[] for _ in sizes]
    loads = [0.0] * workers
    for file in sorted(files, key=lambda each: (-SECONDS[each], each)):
        least = min(range(workers), key=lambda number: loads[number])
        loads[least] += SECONDS[file]
        parts[least] += files[file]
    for part, size in zip(parts, sizes, strict=True):
        short = part[size:] + short
        del part[size:]
    for part, size in zip(parts, sizes, strict=True):
        missing = size - len(part)
        part.extend(short[:missing])
        del short[:missing]
    return [item for part in parts for item in part]
