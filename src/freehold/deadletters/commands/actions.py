"""`freehold dlq replay` and `discard`: dead letters by id, or all that match, in batches. Face."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import wraps
from typing import Any
from uuid import UUID

import click

from freehold.cli.options import COUNT, actor, asynchronous, confirm_option, json_option, reason_option, service_option
from freehold.cli.output import answer_json, note, note_on_interrupt
from freehold.cli.progress import counter
from freehold.cli.project import Project
from freehold.cli.services import OpenedServices, ServiceAccess, explained
from freehold.deadletters.commands.group import command, filters, owner
from freehold.deadletters.operations import DeadLetterActions
from freehold.deadletters.store import DEAD_LETTERS, DeadLetterFilter
from freehold.errors import DatabaseError, FreeholdError

__all__ = ["discard", "replay"]

_BATCH = 200
_REFUSALS_SHOWN = 20

Act = Callable[[DeadLetterActions, Sequence[UUID]], Coroutine[Any, Any, Mapping[UUID, UUID | FreeholdError]]]


@dataclass(frozen=True, slots=True)
class _Choice:
    """The chosen dead letters: by id, or with `every` all that match the filter, `limit` at most."""

    letter_ids: tuple[UUID, ...]
    every: bool
    wanted: DeadLetterFilter
    limit: int | None

    @property
    def described(self) -> str:
        """The choice in words, for the confirmation."""
        return "all dead letters that match" if self.every else f"{len(self.letter_ids)} dead letters"


@dataclass(slots=True)
class _Outcome:
    """The results for the dead letters."""

    done: list[dict[str, object]] = field(default_factory=list)
    refused: list[dict[str, object]] = field(default_factory=list)

    def words(self, word: str) -> str:
        """The counts in words: `3 replayed, 1 refused`."""
        return f"{len(self.done)} {word}, {len(self.refused)} refused"


@dataclass(slots=True)
class _Remaining:
    """How many dead letters the limit still allows; None: no limit."""

    letters: int | None

    def at_most(self, batch: int) -> int:
        """The size of the next batch."""
        return batch if self.letters is None else min(batch, self.letters)

    def take(self, letters: int) -> None:
        """Count a batch."""
        if self.letters is not None:
            self.letters -= letters


def _choosing(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options for ids or `--all` with filters, and pass them to the command as one `choice`."""

    @wraps(function)
    def choose(
        *,
        letter_ids: tuple[UUID, ...],
        every: bool,
        limit: int | None,
        type_: str | None,
        error_reason: str | None,
        consumer: str | None,
        **rest: Any,
    ) -> Any:
        wanted = DeadLetterFilter(consumer=consumer, type=type_, reason=error_reason)
        return function(choice=_Choice(letter_ids, every, wanted, limit), **rest)

    limits = click.option("--limit", type=COUNT, help="With --all: at most this number.")
    everything = click.option("--all", "every", is_flag=True, help="All dead letters that match the filters.")
    argument = click.argument("letter_ids", metavar="[ID]...", type=click.UUID, nargs=-1)
    return argument(everything(filters(limits(choose))))


@command.command(help="Replay dead letters: by id, or with --all those that match the filters.")
@_choosing
@click.option(
    "--ignore-replay-window",
    is_flag=True,
    help="Also replay dead letters older than the replay window. Make sure that their effect does not exist.",
)
@service_option
@reason_option
@json_option
@asynchronous
async def replay(
    project: Project, *, choice: _Choice, names: tuple[str, ...], reason: str, ignore_replay_window: bool, as_json: bool
) -> int:
    """Replay them batch by batch, each in one transaction; a refused one does not stop the others."""

    async def act(actions: DeadLetterActions, letter_ids: Sequence[UUID]) -> Mapping[UUID, UUID | FreeholdError]:
        return await actions.replay_many(
            letter_ids, actor=actor(), reason=reason, ignore_replay_window=ignore_replay_window
        )

    return await _act_on(project, names, choice, act, word="replayed", as_json=as_json)


@command.command(help="Discard dead letters: by id, or with --all those that match. Asks, or takes --yes.")
@_choosing
@service_option
@reason_option
@json_option
@confirm_option(lambda given: f"Discard {given['choice'].described}? They cannot be replayed afterwards.")
@asynchronous
async def discard(project: Project, *, choice: _Choice, names: tuple[str, ...], reason: str, as_json: bool) -> int:
    """Discard them batch by batch, each in one transaction."""

    async def act(actions: DeadLetterActions, letter_ids: Sequence[UUID]) -> Mapping[UUID, UUID | FreeholdError]:
        return await actions.discard_many(letter_ids, actor=actor(), reason=reason)

    return await _act_on(project, names, choice, act, word="discarded", as_json=as_json)


async def _act_on(
    project: Project, names: tuple[str, ...], choice: _Choice, act: Act, *, word: str, as_json: bool
) -> int:
    """Act on every chosen dead letter, in its service; a failing service does not stop the others. Exit code 1 where a
    dead letter was refused.
    """
    if bool(choice.letter_ids) == choice.every:
        raise click.UsageError("name dead letters by id, or use --all")
    outcome = _Outcome()
    async with project.open(names) as opened:
        named = None if choice.every else await _by_service(opened, choice.letter_ids)
        remaining = _Remaining(choice.limit)
        summary = note_on_interrupt(lambda: f"{outcome.words(word)}; the rest was not changed")
        with summary, counter(shown=choice.every) as progress:
            task = progress.add_task(word, total=None)
            for access in opened.services:
                batches = _matching(access, choice.wanted, remaining) if named is None else _sliced(named[access.name])
                async with opened.catching(access):
                    async for letter_ids in batches:
                        await _act_on_batch(access, letter_ids, act, outcome)
                        progress.advance(task, len(letter_ids))
    if as_json:
        counts = {"done": len(outcome.done), "refused": len(outcome.refused)}
        answer_json({"counts": counts, word: outcome.done, "refused": outcome.refused, "failed": opened.as_document()})
    else:
        _tell(outcome, word, whole=not opened.failed)
    return opened.code or (1 if outcome.refused else 0)


async def _act_on_batch(access: ServiceAccess, letter_ids: Sequence[UUID], act: Act, outcome: _Outcome) -> None:
    """Act on a batch. Raises an error that concerns the database and not one dead letter: all others would have it."""
    results = await act(DeadLetterActions(access.context), letter_ids)
    for letter_id, result in results.items():
        place: dict[str, object] = {"service": access.name, "id": letter_id}
        if isinstance(result, FreeholdError):
            outcome.refused.append({**place, "error": str(result)})
        else:
            outcome.done.append({**place, "new_id": result} if result != letter_id else place)
    broken = next((each for each in results.values() if isinstance(each, DatabaseError)), None)
    if broken is not None and (cause := await explained(broken, access)) is not broken:
        raise cause


def _tell(outcome: _Outcome, word: str, *, whole: bool) -> None:
    note(outcome.words(word) + ("" if whole else "; services that could not be reached were not changed"))
    for refused in outcome.refused[:_REFUSALS_SHOWN]:
        note(f"  {refused['id']}: {refused['error']}")
    if len(outcome.refused) > _REFUSALS_SHOWN:
        note(f"  and {len(outcome.refused) - _REFUSALS_SHOWN} more; --json lists them all")


async def _by_service(opened: OpenedServices, letter_ids: Sequence[UUID]) -> Mapping[str, Sequence[UUID]]:
    """The named dead letters, each once, by their service. All are looked up before one is changed."""
    found: dict[str, list[UUID]] = {access.name: [] for access in opened.services}
    for access, letter in [await owner(opened, letter_id) for letter_id in dict.fromkeys(letter_ids)]:
        found[access.name].append(letter.id)
    return found


async def _sliced(letter_ids: Sequence[UUID]) -> AsyncIterator[Sequence[UUID]]:
    for begin in range(0, len(letter_ids), _BATCH):
        yield letter_ids[begin : begin + _BATCH]


async def _matching(
    access: ServiceAccess, wanted: DeadLetterFilter, remaining: _Remaining
) -> AsyncIterator[Sequence[UUID]]:
    """The matching dead letters of a service, each once, in batches."""
    while (limit := remaining.at_most(_BATCH)) > 0:
        wanted = replace(wanted, limit=limit)
        batch = await access.stores[DEAD_LETTERS].find(wanted)
        if not batch:
            return
        # From the newest to the oldest: a message that is dead-lettered again meanwhile is newer, and is not read.
        wanted = replace(wanted, after=(batch[-1].failed_at, batch[-1].id))
        yield [letter.id for letter in batch]
        remaining.take(len(batch))
