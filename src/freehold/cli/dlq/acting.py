"""`freehold dlq replay` and `drop`: on letters named, or on all that match, in batches. Face."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import wraps
from typing import Any
from uuid import UUID

import click
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from freehold.cli.context import Opened, Project, ServiceAccess
from freehold.cli.dlq.group import command, filters, owner
from freehold.cli.numbers import COUNT
from freehold.cli.options import acting, actor, asynchronous, destroying, json_option, service_option
from freehold.cli.output import answer_json, note
from freehold.deadletters.store import DeadLetterFilter
from freehold.errors import FreeholdError, Unavailable
from freehold.runtime.letters import DeadLetterActions

__all__ = ["drop", "replay"]

_BATCH = 200
_REFUSALS_SHOWN = 20

Act = Callable[[DeadLetterActions, Sequence[UUID]], Coroutine[Any, Any, Mapping[UUID, UUID | FreeholdError]]]


@dataclass(frozen=True, slots=True)
class _Choice:
    """The letters meant: by id, or with `every`, all that match the filter, at most `limit`."""

    letter_ids: tuple[UUID, ...]
    every: bool
    wanted: DeadLetterFilter
    limit: int | None

    @property
    def described(self) -> str:
        """For the question whether it is meant."""
        return "all dead letters that match" if self.every else f"{len(self.letter_ids)} dead letters"


@dataclass(slots=True)
class _Outcome:
    """What became of the letters."""

    done: list[dict[str, object]] = field(default_factory=list)
    refused: list[dict[str, object]] = field(default_factory=list)


def _choosing(function: Callable[..., Any]) -> Callable[..., Any]:
    """Ids or `--all` with filters, given to the command as one `choice`."""

    @wraps(function)
    def choose(
        *,
        letter_ids: tuple[UUID, ...],
        every: bool,
        limit: int | None,
        type_: str | None,
        why: str | None,
        consumer: str | None,
        **rest: Any,
    ) -> Any:
        wanted = DeadLetterFilter(consumer=consumer, type=type_, reason=why)
        return function(choice=_Choice(letter_ids, every, wanted, limit), **rest)

    limits = click.option("--limit", type=COUNT, help="With --all: no more than so many.")
    everything = click.option("--all", "every", is_flag=True, help="All dead letters that match the filters.")
    argument = click.argument("letter_ids", type=click.UUID, nargs=-1)
    return argument(everything(filters(limits(choose))))


@command.command(help="Bring letters on their way again: by id, or with --all those that match the filters.")
@_choosing
@click.option("--late", is_flag=True, help="Also letters older than the replay horizon; their effect must not exist.")
@service_option
@acting
@json_option
@asynchronous
async def replay(
    project: Project, *, choice: _Choice, names: tuple[str, ...], reason: str, late: bool, as_json: bool
) -> int:
    """Replay them batch by batch, each in a transaction; one that is refused does not keep the others."""

    async def act(actions: DeadLetterActions, letter_ids: Sequence[UUID]) -> Mapping[UUID, UUID | FreeholdError]:
        return await actions.replay_many(letter_ids, actor=actor(), reason=reason, late=late)

    return await _act_on(project, names, choice, act, word="replayed", as_json=as_json)


@command.command(help="Give letters up for good: by id, or with --all those that match. Asks, or takes --yes.")
@_choosing
@service_option
@acting
@json_option
@destroying(lambda given: f"Give up {given['choice'].described} for good?")
@asynchronous
async def drop(project: Project, *, choice: _Choice, names: tuple[str, ...], reason: str, as_json: bool) -> int:
    """Drop them batch by batch, each in a transaction."""

    async def act(actions: DeadLetterActions, letter_ids: Sequence[UUID]) -> Mapping[UUID, UUID | FreeholdError]:
        return await actions.drop_many(letter_ids, actor=actor(), reason=reason)

    return await _act_on(project, names, choice, act, word="dropped", as_json=as_json)


async def _act_on(
    project: Project, names: tuple[str, ...], choice: _Choice, act: Act, *, word: str, as_json: bool
) -> int:
    """Act on every letter, in the service that holds it. Exit code 1 where one was refused."""
    if bool(choice.letter_ids) == choice.every:
        raise click.UsageError("name dead letters by id, or say --all")
    outcome = _Outcome()
    async with project.open(names) as opened:
        try:
            with _progress(shown=choice.every) as progress:
                task = progress.add_task(word, total=None)
                async for access, letter_ids in _batches(opened, choice):
                    await _act_on_batch(access, letter_ids, act, outcome)
                    progress.advance(task, len(letter_ids))
        except (Unavailable, asyncio.CancelledError):
            # It is in the audit table; the same command goes on with the rest.
            note(f"{len(outcome.done)} {word}, {len(outcome.refused)} refused; the rest is as it was")
            raise
    if as_json:
        counts = {"done": len(outcome.done), "refused": len(outcome.refused)}
        answer_json({"counts": counts, word: outcome.done, "refused": outcome.refused, "failed": opened.as_document()})
    else:
        _tell(outcome, word)
    return opened.code or (1 if outcome.refused else 0)


async def _act_on_batch(access: ServiceAccess, letter_ids: Sequence[UUID], act: Act, outcome: _Outcome) -> None:
    outcomes = await act(DeadLetterActions(access.stores, access.settings), letter_ids)
    for letter_id, became in outcomes.items():
        place: dict[str, object] = {"service": access.name, "id": letter_id}
        if isinstance(became, FreeholdError):
            outcome.refused.append({**place, "error": str(became)})
        else:
            outcome.done.append({**place, "new_id": became} if became != letter_id else place)


def _progress(*, shown: bool) -> Progress:
    columns = (SpinnerColumn(), TextColumn("{task.completed:.0f} {task.description}"), TimeElapsedColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True, disable=not shown)


def _tell(outcome: _Outcome, word: str) -> None:
    note(f"{len(outcome.done)} {word}, {len(outcome.refused)} refused")
    for refused in outcome.refused[:_REFUSALS_SHOWN]:
        note(f"  {refused['id']}: {refused['error']}")
    if len(outcome.refused) > _REFUSALS_SHOWN:
        note(f"  and {len(outcome.refused) - _REFUSALS_SHOWN} more; --json lists them all")


async def _batches(opened: Opened, choice: _Choice) -> AsyncIterator[tuple[ServiceAccess, Sequence[UUID]]]:
    """The letters meant, each once. All of those named are found before the first is touched."""
    if not choice.every:
        held: dict[str, tuple[ServiceAccess, list[UUID]]] = {}
        for access, letter in [await owner(opened, letter_id) for letter_id in dict.fromkeys(choice.letter_ids)]:
            held.setdefault(access.name, (access, []))[1].append(letter.id)
        for access, letter_ids in held.values():
            for begin in range(0, len(letter_ids), _BATCH):
                yield access, letter_ids[begin : begin + _BATCH]
        return
    left = choice.limit
    for access in opened.services:
        wanted = choice.wanted
        while left is None or left > 0:
            wanted = replace(wanted, limit=_BATCH if left is None else min(_BATCH, left))
            batch = await access.stores.dead_letters.find(wanted)
            if not batch:
                break
            # From the newest backwards: what dies again meanwhile is newer, and is not met a second time.
            wanted = replace(wanted, after=(batch[-1].failed_at, batch[-1].id))
            yield access, [letter.id for letter in batch]
            left = None if left is None else left - len(batch)
