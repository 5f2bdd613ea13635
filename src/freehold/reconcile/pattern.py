"""Reconciliation as a pattern: its runner, probe, pruning, commands and routes. Pattern: a declaration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from freehold.context import ServiceContext
from freehold.database import CheckResult
from freehold.leases.keeper import LeaseManager, holder_name
from freehold.leases.store import LEASES
from freehold.lifecycle import Runner
from freehold.pattern import Need, Pattern, Pruning, Role
from freehold.reconcile.dataset import Datasets, Replica
from freehold.reconcile.dataset_store import DATASETS
from freehold.reconcile.metrics import readings
from freehold.reconcile.operations import make_reconciler, peer_source
from freehold.reconcile.probes import probe
from freehold.reconcile.reconcile_runner import ReconcileRunner, lease_of
from freehold.reconcile.reconciler import Reconciliation
from freehold.reconcile.store import RECONCILIATIONS

__all__ = ["PATTERN"]

_LEASE_SECONDS_MAX: Final = 30.0
_LEASES_IN_A_TURN: Final = 30.0


def _runners(context: ServiceContext) -> Sequence[Runner]:
    """The runner that compares replicas on a schedule, with the keeper of its leases; none without a schedule."""
    replicas = [each for each in context.of(PATTERN).replicas.values() if each.every_seconds is not None]
    if not replicas:
        return []
    stores, clock = context.stores, context.clock

    async def compare(replica: Replica) -> Reconciliation:
        repair_for = (f"{context.service} (schedule)", "scheduled comparison") if replica.repair else None
        source = peer_source(replica, context.settings)
        return await make_reconciler(context.service, stores, replica, source, clock, repair_for=repair_for).run()

    runner = ReconcileRunner(context.service, replicas, stores[RECONCILIATIONS], compare, lambda: keeper.tokens, clock)
    keeper = LeaseManager(
        stores[LEASES],
        "reconcile/",
        tuple(lease_of(each) for each in replicas),
        holder_name(),
        _lease_seconds(context.settings.lease_seconds, replicas),
        clock,
        on_change=runner.wake,
    )
    return [keeper, runner]


def _lease_seconds(least: float, replicas: Sequence[Replica]) -> float:
    """How long a lease lasts: a comparison each quarter of an hour needs no take-over within seconds, and each renewal
    is a commit.
    """
    turn = min(each.every_seconds or 0.0 for each in replicas)
    return max(least, min(_LEASE_SECONDS_MAX, turn / _LEASES_IN_A_TURN))


def _replicas(context: ServiceContext) -> frozenset[str]:
    return frozenset(context.of(PATTERN).replicas)


async def _prune(context: ServiceContext, older_than_seconds: float, limit: int) -> int:
    return await context.stores[RECONCILIATIONS].prune(older_than_seconds, limit)


async def _probe(context: ServiceContext) -> Sequence[CheckResult]:
    return await probe(context, context.of(PATTERN))


def _needs(declared: Datasets) -> Sequence[Need]:
    found = []
    if declared.replicas:
        found.append(Need("reconcile", (RECONCILIATIONS, DATASETS, LEASES), sorted(declared.replicas)))
    if declared.published_datasets:
        found.append(Need("published dataset", (DATASETS,), sorted(declared.published_datasets)))
    return found


PATTERN: Final = Pattern[Datasets](
    "reconcile",
    "compares replicas of other services' data with their source",
    declares=Datasets,
    needs=_needs,
    roles=(Role("reconcile", _runners),),
    probes=(_probe,),
    readings=readings(_replicas),
    pruning=(
        Pruning("reconciliations", RECONCILIATIONS, _prune, lambda settings: settings.finished_retention_seconds),
    ),
    commands={"reconcile": "freehold.reconcile.commands:command", "monitor": "freehold.reconcile.commands:monitor"},
    routes="freehold.reconcile.routes:router",
)
