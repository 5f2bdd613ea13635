"""`freehold dlq replay` and `drop`: on letters named, or on all that match, in batches. Face."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field, replace
from functools import wraps
from typing import Any
from uuid import UUID

import click
from rich.console import Console
from rich.progress import Progress

from freehold.cli.context import Opened, Project, ServiceAccess
from freehold.cli.dlq.group import command, filters, owner
from freehold.cli.options import acting, actor, asynchronous, destroying, json_option, service_option
from freehold.cli.output import answer_json, note
from freehold.deadletters.store import DeadLetterFilter
from freehold.errors import FreeholdError, Unavailable
from freehold.runtime.letters import DeadLetterActions

__all__ = ["drop", "replay"]

_BATCH = 200
_REFUSALS_SHOWN = 20

Act = Callable[[DeadLetterActions, UUID], Coroutine[Any, Any, UUID | None]]


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

    limits = click.option("--limit", type=click.IntRange(min=1), help="With --all: no more than so many.")
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
    """Replay each in a transaction of its own; one that is refused does not keep the others."""

    async def act(actions: DeadLetterActions, letter_id: UUID) -> UUID | None:
        return await actions.replay(letter_id, actor=actor(), reason=reason, late=late)

    return await _act_on(project, names, choice, act, word="replayed", as_json=as_json)


@command.command(help="Give letters up for good: by id, or with --all those that match. Asks, or takes --yes.")
@_choosing
@service_option
@acting
@json_option
@destroying(lambda given: f"Give up {given['choice'].described} for good?")
@asynchronous
async def drop(project: Project, *, choice: _Choice, names: tuple[str, ...], reason: str, as_json: bool) -> int:
    """Drop each in a transaction of its own."""

    async def act(actions: DeadLetterActions, letter_id: UUID) -> UUID | None:
        await actions.drop(letter_id, actor=actor(), reason=reason)
        return None

    return await _act_on(project, names, choice, act, word="dropped", as_json=as_json)


async def _act_on(
    project: Project, names: tuple[str, ...], choice: _Choice, act: Act, *, word: str, as_json: bool
) -> int:
    """Act on every letter, in the service that holds it. Exit code 1 where one was refused."""
    if bool(choice.letter_ids) == choice.every:
        raise click.UsageError("name dead letters by id, or say --all")
    outcome = _Outcome()
    async with project.open(names) as opened:
        with Progress(console=Console(stderr=True), transient=True, disable=not choice.every) as progress:
            task = progress.add_task(word, total=None)
            async for access, letter_id in _letters(opened, choice):
                await _act_on_one(access, letter_id, act, outcome)
                progress.advance(task)
    if as_json:
        counts = {"done": len(outcome.done), "refused": len(outcome.refused)}
        answer_json({"counts": counts, word: outcome.done, "refused": outcome.refused, "failed": opened.as_document()})
    else:
        _tell(outcome, word)
    return opened.code or (1 if outcome.refused else 0)


async def _act_on_one(access: ServiceAccess, letter_id: UUID, act: Act, outcome: _Outcome) -> None:
    place: dict[str, object] = {"service": access.name, "id": letter_id}
    try:
        new_id = await act(DeadLetterActions(access.stores, access.settings), letter_id)
    except Unavailable:
        # The others would fail as well, each after its time limit. What was done so far is in the audit table.
        note(f"{len(outcome.done)} done, {len(outcome.refused)} refused; then {access.name} did not answer any more")
        raise
    except FreeholdError as error:
        outcome.refused.append({**place, "error": str(error)})
    else:
        outcome.done.append({**place, "new_id": new_id} if new_id else place)


def _tell(outcome: _Outcome, word: str) -> None:
    note(f"{len(outcome.done)} {word}, {len(outcome.refused)} refused")
    for refused in outcome.refused[:_REFUSALS_SHOWN]:
        note(f"  {refused['id']}: {refused['error']}")
    if len(outcome.refused) > _REFUSALS_SHOWN:
        note(f"  and {len(outcome.refused) - _REFUSALS_SHOWN} more; --json lists them all")


async def _letters(opened: Opened, choice: _Choice) -> AsyncIterator[tuple[ServiceAccess, UUID]]:
    """Each letter meant, once. All of those named are found before the first is touched."""
    if not choice.every:
        for access, letter in [await owner(opened, letter_id) for letter_id in dict.fromkeys(choice.letter_ids)]:
            yield access, letter.id
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
            for letter in batch:
                yield access, letter.id
            left = None if left is None else left - len(batch)
