"""The output of generations, checkpoints and views: as tables, lines and JSON. Face."""

from __future__ import annotations

from freehold.cli.output import ago, duration, table
from freehold.cli.services import ServiceAccess
from freehold.projection.status import COUNT_MAX, GenerationStatus
from freehold.projection.store import Checkpoint
from freehold.projection.view_store import ViewState

__all__ = ["checkpoint_document", "headline", "show_generations", "show_views", "status_document", "view_document"]

_LIST_COLUMNS = (
    "service",
    "projection",
    "gen",
    "version",
    "state",
    "lag",
    "lag (s)",
    "events/s",
    "eta",
    "parked",
    "paused",
)


def show_generations(found: list[tuple[str, GenerationStatus]], not_started: list[tuple[str, str]]) -> None:
    """A row for each generation with its service, then those that have not started."""
    rows = [(service, *_row(each)) for service, each in found]
    rows += [(service, name, "-", "-", "not started", "-", "-", "-", "-", "-", "-") for service, name in not_started]
    table("Projections", _LIST_COLUMNS, rows, empty="none", least=("service", "eta", "version"))


def status_document(status: GenerationStatus) -> dict[str, object]:
    """A generation for JSON."""
    return {
        "projection": status.projection,
        "generation": status.generation.number,
        "version": status.generation.version,
        "code_version": status.code_version,
        "state": status.state,
        "reason": status.generation.reason,
        "inline": status.inline,
        "position": status.position,
        "head": status.head,
        "lag_events": status.lag_events,
        "lag_seconds": status.lag_seconds,
        "events_per_second": status.events_per_second,
        "seconds_left": status.seconds_left,
        "handled": status.handled,
        "failed": status.failed,
        "parked": status.parked,
        "blocked_by_parked": status.blocked_by_parked,
        "paused": status.paused,
        "created_at": status.generation.created_at,
    }


def _row(status: GenerationStatus) -> tuple[object, ...]:
    rate = status.events_per_second
    return (
        status.projection,
        status.generation.number,
        _version(status),
        "blocked by parked" if status.blocked_by_parked else status.state,
        "-" if status.inline else _count(status.lag_events),
        duration(status.lag_seconds) if status.lag_events else "-",
        "-" if rate is None else f"{rate:.0f}",
        duration(status.seconds_left) if status.lag_events else "-",
        status.parked,
        "-" if status.paused is None else status.paused.reason,
    )


def _version(status: GenerationStatus) -> str:
    version = status.generation.version
    declared = status.code_version
    return str(version) if declared in {None, version} else f"{version} (code: {declared})"


def _count(events: int) -> str:
    return f"{events}+" if events >= COUNT_MAX else str(events)


def headline(status: GenerationStatus) -> str:
    """A generation in one line."""
    generation = status.generation
    parts = [f"{status.projection}: generation {generation.number}, version {_version(status)}, {status.state.value}"]
    if status.inline:
        parts.append("inline")
    elif status.lag_events:
        parts.append(f"lag: {_count(status.lag_events)} events, {duration(status.lag_seconds)}")
    else:
        parts.append("up to date" if generation.state.value != "retired" else "not kept up to date any more")
    if status.parked:
        parts.append(f"parked streams: {status.parked}")
    if status.blocked_by_parked:
        parts.append("built; it becomes live when they are retried or skipped, or by a switch with --force")
    if status.paused is not None:
        parts.append(f"paused by {status.paused.actor}: {status.paused.reason}")
    if generation.reason:
        parts.append(f"started because: {generation.reason}")
    return "; ".join(parts)


def checkpoint_document(each: Checkpoint) -> dict[str, object]:
    """A checkpoint for JSON."""
    return {
        "generation": each.generation,
        "partition": each.partition,
        "position": each.position,
        "state": each.state,
        "handled": each.handled,
        "failed": each.failed,
        "updated_at": each.updated_at,
    }


def view_document(access: ServiceAccess, state: ViewState) -> dict[str, object]:
    """A view for JSON."""
    declared = access.service.materialized_views.get(state.name)
    return {
        "service": access.name,
        "view": state.name,
        "kind": "emulation by a table" if state.emulated else "materialized view",
        "refreshed_at": state.refreshed_at,
        "duration_seconds": state.duration_seconds,
        "refresh_seconds": declared.refresh_seconds if declared else None,
        "failures": state.failures,
        "error": state.error,
    }


def show_views(views: list[tuple[ServiceAccess, ViewState]]) -> None:
    """A row for each view."""
    rows = []
    for access, state in views:
        declared = access.service.materialized_views.get(state.name)
        every = declared.refresh_seconds if declared else None
        rows.append(
            (
                access.name,
                state.name,
                "emulation by a table" if state.emulated else "materialized view",
                ago(state.refreshed_at),
                duration(state.duration_seconds),
                "on demand" if every is None else duration(every),
                state.failures,
                state.error,
            )
        )
    columns = ("service", "view", "kind", "refreshed", "took", "every", "failures", "error")
    table("Views", columns, rows, empty="none", least=("service", "kind", "every"))
