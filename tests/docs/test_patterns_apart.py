"""Who knows a pattern: its own package, the patterns above it, and the modules that are listed here with a reason."""

from __future__ import annotations

from typing import Final

import grimp

# Ports without a declaration of their own, which patterns stand on.
_PARTS: Final = frozenset({"leases", "groups", "eventstore", "transaction"})
# Implement the ports of patterns, and test these.
_ENGINES: Final = frozenset({"adapters", "conformance"})
_LISTED: Final = {
    "freehold": "public names",
    "freehold.alembic": "leaves the tables of read models alone",
    "freehold.cli.db": "writes to the audit whose database it is",
    "freehold.http.consistency": "tokens in headers",
    "freehold.http.context": "tokens in headers",
    "freehold.http.buffered_response": "stored responses by Idempotency-Key",
    "freehold.http.middleware": "tokens in headers, stored responses",
    "freehold.http.problems": "refusals as problem documents",
    "freehold.runtime": "public names",
    "freehold.runtime.patterns": "the list of built-in patterns",
    "freehold.runtime.running_service": "typed access: freshness, sagas, source, reconcile; the former database",
    "freehold.runtime.standalone": "outbox and inbox alone, for existing code",
    "freehold.schema.asyncapi": "the requests of sagas",
    "freehold.service": "typed access to the registries",
    "freehold.testing.choreography_stage": "choreographies lived in tests",
    "freehold.testing.participants": "sagas lived in tests",
    "freehold.testing.recorder": "what was scheduled, for tests",
    "freehold.testing.saga": "sagas lived in tests",
    "freehold.testing.saga_code": "sagas lived in tests",
    "freehold.testing.saga_story": "sagas lived in tests",
    "freehold.testing.settlement": "waits until every pattern is done",
    "freehold.testing.saga_run": "sagas lived in tests",
    # To become a walk: what doctor asks a broker for a service.
    "freehold.runtime.doctor": "asks the broker about log, consumers, windows, tokens",
}


def test_only_listed_modules_name_a_pattern() -> None:
    """One that is listed and names none any more is to be taken away."""
    assert _naming() == _LISTED.keys()


def test_each_package_that_declares_a_pattern_is_in_the_list() -> None:
    graph = grimp.build_graph("freehold", cache_dir=None)
    declared = {module for module in graph.modules if module.count(".") == 2 and module.endswith(".pattern")}
    assert declared - graph.find_modules_directly_imported_by("freehold.runtime.patterns") == set()
    assert len(declared) > 8


def _naming() -> set[str]:
    graph = grimp.build_graph("freehold", cache_dir=None)
    patterns = {_package(module) for module in graph.modules if module.endswith(".pattern") and module.count(".") == 2}
    outside = patterns | _PARTS | _ENGINES
    found = set[str]()
    for module in graph.modules:
        if _package(module) in outside:
            continue
        imported = {_package(each) for each in graph.find_modules_directly_imported_by(module)}
        if imported & (patterns | {"leases", "groups"}):
            found.add(module)
    return found


def _package(module: str) -> str:
    return module.split(".")[1] if "." in module else ""
