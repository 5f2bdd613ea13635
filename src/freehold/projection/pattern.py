"""Projections and materialized views as patterns: their needs, runners, checks, preparation and pruning. Pattern:
declarations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from freehold.audit.store import AUDIT
from freehold.consistency.gate import FreshnessGate
from freehold.consistency.store import PROGRESSED
from freehold.context import ServiceContext
from freehold.database import CheckResult, Defect
from freehold.errors import DeclarationError
from freehold.eventstore.store import APPENDED, EVENTS
from freehold.leases.keeper import LeaseManager, holder_name
from freehold.leases.store import LEASES, REBALANCE
from freehold.lifecycle import Runner
from freehold.messages import MessageKind, message_type, registry, upcasters
from freehold.pattern import Check, Need, Pattern, Phase, Preparation, Pruning, Role
from freehold.projection.apply_modes import InlineProjections, SuppressedInvoker
from freehold.projection.declaration import Projection
from freehold.projection.generations import RebuildSource, begin_first
from freehold.projection.metrics import readings
from freehold.projection.preparation import (
    build_view,
    lost_read_models,
    lost_views,
    repair_read_models,
    repair_views,
    unbuilt_views,
    unmade_projections,
)
from freehold.projection.probes import probe
from freehold.projection.read_model_store import READ_MODELS
from freehold.projection.rebuild_runner import RebuildRunner
from freehold.projection.replay_store import REPLAYS
from freehold.projection.service_runner import ProjectionCoordinator, ProjectionStores
from freehold.projection.status import ProjectionPositions
from freehold.projection.store import CHANGED, CHECKPOINTS
from freehold.projection.view_runner import ViewRunner
from freehold.projection.view_store import VIEWS, MaterializedView
from freehold.transaction import Transactions

__all__ = ["PROJECTION", "RETIRED_RETENTION_SECONDS", "VIEW"]

RETIRED_RETENTION_SECONDS: Final = 3600.0
"""How long the former live generation is kept after a switch, so that it can be compared."""


def _wire(context: ServiceContext) -> None:
    declared = context.of(PROJECTION)
    positions = ProjectionPositions(declared, context.stores.get(CHECKPOINTS), context.clock)
    context.resource(FreshnessGate).register(positions)
    inline = InlineProjections(declared.values(), context.service)
    if inline:
        context.offer(InlineProjections, inline)
        context.resource(Transactions).after_append = inline


async def _check_versions(context: ServiceContext) -> None:
    """Check that each declared version of a handled event reaches a handler, directly or by upcasters: otherwise it
    would be missing from the read model. Called once all modules are imported. Raises `DeclarationError`.
    """
    for projection in context.of(PROJECTION).values():
        _check_version(projection)


def _check_version(projection: Projection) -> None:
    handled = {(each.name, each.version) for each in map(message_type, projection.handled)}
    names = {name for name, _ in handled}
    for name, version in sorted(handled):
        if upcasters.find(name, version) is not None:
            raise DeclarationError(
                f"projection '{projection.name}' handles '{name}' version {version}, which never reaches it:"
                " an upcaster changes it",
                hint="handle the version that the upcaster makes",
            )
    for each in registry:
        left_out = each.kind is MessageKind.EVENT and each.name in names and (each.name, each.version) not in handled
        if left_out and upcasters.find(each.name, each.version) is None:
            raise DeclarationError(
                f"projection '{projection.name}' handles '{each.name}', and not its version {each.version}",
                hint="handle that as well, or write an upcaster to a handled version",
            )


async def _begin_inline(context: ServiceContext) -> None:
    """Make the tables of inline projections, before anything is appended here."""
    inline = context.find(InlineProjections)
    if inline is not None:
        await inline.begin(context.stores)


def _runners(context: ServiceContext) -> Sequence[Runner]:
    """The coordinator of all projections, and the runner of their rebuilds."""
    projections = tuple(context.of(PROJECTION).values())
    if all(each.inline for each in projections):
        return []
    settings, stores = context.settings, context.stores
    coordinator = ProjectionCoordinator(
        projections,
        context.resource(Transactions),
        ProjectionStores(stores[EVENTS], stores[CHECKPOINTS], stores[LEASES], stores[AUDIT]),
        owner=holder_name(),
        lease_seconds=settings.lease_seconds,
        poll_seconds=settings.poll_seconds,
        batch_timeout_seconds=settings.handler_timeout_seconds,
        on_progress=lambda: context.emit(PROGRESSED),
        on_rebalance=lambda: context.tell(REBALANCE),
    )
    return [coordinator, _rebuilds(context, projections)]


def _look_again(runner: Runner) -> None:
    """Look at once at generations and pauses."""
    if isinstance(runner, ProjectionCoordinator):
        runner.refresh()
    else:
        runner.wake()


def _balance(runner: Runner) -> None:
    """Look at once at the leases."""
    if isinstance(runner, ProjectionCoordinator):
        runner.balance()


def _rebuilds(context: ServiceContext, projections: Sequence[Projection]) -> Runner:
    stores = context.stores
    return RebuildRunner(
        context.service,
        context.database,
        RebuildSource(stores, SuppressedInvoker(context.resource(Transactions))),
        stores[LEASES],
        list(projections),
        retention_seconds=RETIRED_RETENTION_SECONDS,
        poll_seconds=context.settings.poll_seconds,
        on_change=lambda: context.emit(CHANGED),
        clock=context.clock,
    )


def _view_runners(context: ServiceContext) -> Sequence[Runner]:
    """The runner of materialized views with the keeper of its leases; none without views."""
    views = list(context.of(VIEW).values())
    if not views:
        return []
    names = {f"view/{view.name}": view.name for view in views}
    runner = ViewRunner(
        context.service,
        context.stores[VIEWS],
        views,
        lambda: [names[name] for name in keeper.tokens],
        clock=context.clock,
    )
    keeper = LeaseManager(
        context.stores[LEASES],
        "view/",
        tuple(names),
        holder_name(),
        context.settings.lease_seconds,
        context.clock,
        on_change=runner.wake,
    )
    return [keeper, runner]


async def _prune_replays(context: ServiceContext, older_than_seconds: float, limit: int) -> int:
    return await context.stores[REPLAYS].prune(older_than_seconds, limit)


async def _probe(context: ServiceContext) -> Sequence[CheckResult]:
    return await probe(context, context.of(PROJECTION))


def _declared(context: ServiceContext) -> Mapping[str, Projection]:
    return context.of(PROJECTION)


async def _unmade(context: ServiceContext) -> Sequence[str]:
    return await unmade_projections(context.of(PROJECTION), context.stores)


async def _lost(context: ServiceContext) -> Sequence[Defect]:
    return await lost_read_models(context.of(PROJECTION), context.stores)


async def _repair(context: ServiceContext) -> Sequence[str]:
    return await repair_read_models(context.of(PROJECTION), context.stores)


async def _unbuilt_views(context: ServiceContext) -> Sequence[str]:
    return await unbuilt_views(context.of(VIEW), context.stores)


async def _lost_views(context: ServiceContext) -> Sequence[Defect]:
    return await lost_views(context.of(VIEW), context.stores)


async def _repair_views(context: ServiceContext) -> Sequence[str]:
    return await repair_views(context.of(VIEW), context.stores)


async def _make(context: ServiceContext, name: str) -> None:
    await begin_first(context.of(PROJECTION)[name], context.stores)


async def _make_view(context: ServiceContext, name: str) -> None:
    await build_view(context.of(VIEW)[name], context.stores, context.clock)


def _needs(declared: Mapping[str, Projection]) -> Sequence[Need]:
    found = []
    if declared:
        found.append(Need("projection", (EVENTS, CHECKPOINTS, LEASES, AUDIT), sorted(declared)))
    if with_tables := sorted(name for name, each in declared.items() if each.tables):
        found.append(Need("projection with tables", (READ_MODELS,), with_tables))
    return found


def _view_needs(declared: Mapping[str, MaterializedView]) -> Sequence[Need]:
    return (Need("materialized view", (VIEWS, LEASES), sorted(declared)),) if declared else ()


PROJECTION: Final = Pattern[dict[str, Projection]](
    "projection",
    "keeps read models up to date with the event store",
    declares=lambda _: {},
    needs=_needs,
    wire=_wire,
    roles=(
        Role(
            "projections",
            _runners,
            wakes_on={APPENDED: ProjectionCoordinator},
            calls_on={CHANGED: _look_again, REBALANCE: _balance},
        ),
    ),
    checks=(Check(Phase.DECLARED, _check_versions), Check(Phase.OPENED, _begin_inline)),
    probes=(_probe,),
    readings=readings(_declared),
    preparation=Preparation(
        missing=_unmade,
        make=_make,
        defects=_lost,
        repair=_repair,
    ),
    commands={"projection": "freehold.projection.commands:command"},
    pruning=(Pruning("replays", REPLAYS, _prune_replays, lambda settings: settings.finished_retention_seconds),),
)
VIEW: Final = Pattern[dict[str, MaterializedView]](
    "view",
    "refreshes materialized views on a schedule",
    declares=lambda _: {},
    needs=_view_needs,
    roles=(Role("projections", _view_runners),),
    preparation=Preparation(
        missing=_unbuilt_views,
        make=_make_view,
        defects=_lost_views,
        repair=_repair_views,
    ),
)
