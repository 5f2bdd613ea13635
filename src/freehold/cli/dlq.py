"""`freehold dlq`: dead letters, to be understood, edited, replayed or dropped. Face.

A list never shows payloads; `show` does, because that is what it is for. Every action is recorded with its reason.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import click
import msgspec

from freehold.cli.context import Project, ServiceAccess, acting, actor, asynchronous, json_option, service_option
from freehold.cli.output import answer_json, console, note, table
from freehold.deadletters.store import DeadLetter, DeadLetterFilter, DeadLetterStatus
from freehold.errors import CodecError, FreeholdError, NotFound
from freehold.messages import decode_envelope
from freehold.runtime import DeadLetterActions

__all__ = ["command"]

_COLUMNS = ("service", "id", "failed_at", "type", "key", "reason", "error_type", "attempts", "status")


@click.group("dlq", help="List, show, edit, replay and drop dead letters.")
def command() -> None:
    """Hold the subcommands."""


def _filters(function: Callable[..., Any]) -> Callable[..., Any]:
    options = (
        click.option(
            "--status", type=click.Choice([*(each.value for each in DeadLetterStatus), "any"]), default="dead"
        ),
        click.option("--type", "type_", metavar="NAME", help="Only messages of this type."),
        click.option("--why", metavar="REASON", help="Only letters with this reason, as `list` shows it."),
        click.option("--limit", default=100, show_default=True, type=click.IntRange(1, 10_000)),
    )
    for option in options:
        function = option(function)
    return function


def _wanted(status: str, type_: str | None, why: str | None, limit: int) -> DeadLetterFilter:
    chosen = None if status == "any" else DeadLetterStatus(status)
    return DeadLetterFilter(status=chosen, type=type_, reason=why, limit=limit)


@command.command("list", help="Dead letters, the newest first.")
@service_option
@_filters
@json_option
@asynchronous
async def list_(
    project: Project,
    names: tuple[str, ...],
    status: str,
    type_: str | None,
    why: str | None,
    limit: int,
    *,
    as_json: bool,
) -> int:
    """List what was given up."""
    rows: list[tuple[object, ...]] = []
    async with project.open(names) as services:
        for access in services:
            letters = await access.stores.dead_letters.find(_wanted(status, type_, why, limit))
            rows += [(access.name, *(getattr(letter, column) for column in _COLUMNS[1:])) for letter in letters]
    if as_json:
        answer_json({"dead_letters": [dict(zip(_COLUMNS, row, strict=True)) for row in rows]})
    else:
        table("Dead letters", _COLUMNS, rows, empty="none")
    return 0


@command.command(help="Everything about one dead letter, its payload included.")
@click.argument("letter_id", type=click.UUID)
@service_option
@json_option
@asynchronous
async def show(project: Project, letter_id: UUID, names: tuple[str, ...], *, as_json: bool) -> int:
    """Show a letter with its document, and with the edited one where there is one."""
    async with _holding(project, names, letter_id) as (access, letter):
        if as_json:
            answer_json(_document(access, letter))
            return 0
        for name in ("id", "direction", "consumer", "topic", "key", "type", "reason", "error_type", "detail"):
            console.print(f"{name:<12} {getattr(letter, name)}", markup=False)
        for name in ("attempts", "failed_at", "status", "replayed_as"):
            console.print(f"{name:<12} {getattr(letter, name)}", markup=False)
        console.print("document", style="bold")
        console.print(_readable(letter.document), markup=False)
        if letter.edited is not None:
            console.print("edited", style="bold")
            console.print(_readable(letter.edited), markup=False)
    return 0


@command.command(help="Have another body replayed: --body FILE or -, or without it in $EDITOR. The original stays.")
@click.argument("letter_id", type=click.UUID)
@click.option("--body", type=click.File("rb"), help="JSON; - is standard input.")
@service_option
@acting
@asynchronous
async def edit(project: Project, letter_id: UUID, body: Any, names: tuple[str, ...], reason: str) -> int:
    """Edit the body; it is checked against its type where that is declared here."""
    async with _holding(project, names, letter_id) as (access, letter):
        raw = body.read() if body is not None else _in_editor(letter)
        if raw is None:
            note("nothing was changed")
            return 0
        try:
            compact = msgspec.json.format(raw, indent=0)
        except msgspec.DecodeError as error:
            raise CodecError("the new body is not JSON", hint="write one JSON document") from error
        await DeadLetterActions(access.stores, access.settings).edit(letter_id, compact, actor=actor(), reason=reason)
    note(f"{letter_id}: edited; replay it to send it")
    return 0


@command.command(help="Bring letters on their way again: by id, or all that match --all and the filters.")
@click.argument("letter_ids", type=click.UUID, nargs=-1)
@click.option("--all", "every", is_flag=True, help="All that match the filters.")
@click.option("--late", is_flag=True, help="Also letters older than the replay horizon; their effect must not exist.")
@service_option
@_filters
@acting
@json_option
@asynchronous
async def replay(
    project: Project,
    letter_ids: tuple[UUID, ...],
    names: tuple[str, ...],
    status: str,
    type_: str | None,
    why: str | None,
    limit: int,
    reason: str,
    *,
    every: bool,
    late: bool,
    as_json: bool,
) -> int:
    """Replay each in a transaction of its own; one that is refused does not keep the others."""
    wanted = _wanted(status, type_, why, limit) if every else None

    async def act(actions: DeadLetterActions, letter_id: UUID) -> UUID | None:
        return await actions.replay(letter_id, actor=actor(), reason=reason, late=late)

    return await _act_on(project, names, letter_ids, wanted, act, done="replayed", as_json=as_json)


@command.command(help="Give letters up for good: by id, or all that match --all and the filters. Asks, or takes --yes.")
@click.argument("letter_ids", type=click.UUID, nargs=-1)
@click.option("--all", "every", is_flag=True, help="All that match the filters.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@service_option
@_filters
@acting
@json_option
@asynchronous
async def drop(
    project: Project,
    letter_ids: tuple[UUID, ...],
    names: tuple[str, ...],
    status: str,
    type_: str | None,
    why: str | None,
    limit: int,
    reason: str,
    *,
    every: bool,
    yes: bool,
    as_json: bool,
) -> int:
    """Drop each in a transaction of its own."""
    what = "all that match" if every else f"{len(letter_ids)} dead letter(s)"
    if not yes:
        click.confirm(f"Give up {what} for good?", abort=True, err=True)
    wanted = _wanted(status, type_, why, limit) if every else None

    async def act(actions: DeadLetterActions, letter_id: UUID) -> UUID | None:
        await actions.drop(letter_id, actor=actor(), reason=reason)
        return None

    return await _act_on(project, names, letter_ids, wanted, act, done="dropped", as_json=as_json)


_Act = Callable[[DeadLetterActions, UUID], Any]


async def _act_on(
    project: Project,
    names: tuple[str, ...],
    letter_ids: tuple[UUID, ...],
    wanted: DeadLetterFilter | None,
    act: _Act,
    *,
    done: str,
    as_json: bool,
) -> int:
    """Act on every letter, in the service that holds it. Exit code 1 where one was refused."""
    if bool(letter_ids) == (wanted is not None):
        raise click.UsageError("name dead letters by id, or say --all")
    outcomes: list[dict[str, object]] = []
    async with project.open(names) as services:
        for access, letter_id in await _places(services, letter_ids, wanted):
            outcome: dict[str, object] = {"service": access.name, "id": letter_id, "done": True}
            try:
                new_id = await act(DeadLetterActions(access.stores, access.settings), letter_id)
                outcome |= {"new_id": new_id} if new_id else {}
            except FreeholdError as error:
                outcome |= {"done": False, "error": str(error)}
            outcomes.append(outcome)
    refused = [outcome for outcome in outcomes if not outcome["done"]]
    if as_json:
        answer_json({done: outcomes})
    else:
        note(f"{len(outcomes) - len(refused)} {done}, {len(refused)} refused")
        for outcome in refused:
            note(f"  {outcome['id']}: {outcome['error']}")
    return 1 if refused else 0


async def _places(
    services: list[ServiceAccess], letter_ids: tuple[UUID, ...], wanted: DeadLetterFilter | None
) -> list[tuple[ServiceAccess, UUID]]:
    if wanted is not None:
        return [(each, letter.id) for each in services for letter in await each.stores.dead_letters.find(wanted)]
    return [(await _owner(services, letter_id), letter_id) for letter_id in letter_ids]


async def _owner(services: list[ServiceAccess], letter_id: UUID) -> ServiceAccess:
    for access in services:
        try:
            await DeadLetterActions(access.stores, access.settings).get(letter_id)
        except NotFound:
            continue
        return access
    where = ", ".join(access.name for access in services)
    raise NotFound(f"there is no dead letter {letter_id} in {where}", hint="freehold dlq list --status any")


@asynccontextmanager
async def _holding(
    project: Project, names: tuple[str, ...], letter_id: UUID
) -> AsyncIterator[tuple[ServiceAccess, DeadLetter]]:
    async with project.open(names) as services:
        access = await _owner(services, letter_id)
        yield access, await DeadLetterActions(access.stores, access.settings).get(letter_id)


def _document(access: ServiceAccess, letter: DeadLetter) -> dict[str, object]:
    fields = {name: getattr(letter, name) for name in letter.__dataclass_fields__}
    return {"service": access.name, **fields}


def _readable(document: bytes) -> str:
    try:
        return msgspec.json.format(document, indent=2).decode()
    except (msgspec.DecodeError, UnicodeDecodeError):
        return document.decode(errors="backslashreplace")


def _in_editor(letter: DeadLetter) -> bytes | None:
    if not sys.stdin.isatty():
        raise click.UsageError("give the new body with --body FILE, or - for standard input")
    body = decode_envelope(letter.edited or letter.document).body
    changed = click.edit(_readable(body), extension=".json")
    return None if changed is None else changed.encode()
