"""`freehold dlq edit`: another body for a dead letter, checked before it is stored. Face."""

from __future__ import annotations

import sys
from typing import IO
from uuid import UUID

import click
import msgspec

from freehold.cli.options import actor, asynchronous, json_option, reason_option, service_option
from freehold.cli.output import answer_json, note
from freehold.cli.project import Project
from freehold.deadletters.commands.group import command, open_owner
from freehold.deadletters.operations import DeadLetterActions
from freehold.deadletters.store import DeadLetter
from freehold.errors import CodecError
from freehold.messages import decode_envelope

__all__ = ["edit"]


@command.command(help="Edit the body that is replayed: from --body FILE or -, or in $EDITOR. The original stays.")
@click.argument("letter_id", metavar="ID", type=click.UUID)
@click.option("--body", type=click.File("rb"), help="JSON; - is standard input.")
@service_option
@reason_option
@json_option
@asynchronous
async def edit(
    project: Project, letter_id: UUID, body: IO[bytes] | None, names: tuple[str, ...], reason: str, *, as_json: bool
) -> int:
    """Edit the body. It is checked against its type, if that is declared here."""
    async with open_owner(project, names, letter_id) as (access, letter):
        actions = DeadLetterActions(access.context)
        raw = body.read() if body is not None else _in_editor(letter)
        if raw is not None:
            await actions.edit(letter_id, _compact(raw), actor=actor(), reason=reason)
    if as_json:
        answer_json({"service": access.name, "id": letter_id, "edited": raw is not None})
    else:
        note("nothing was changed" if raw is None else f"{letter_id}: edited; replay it to send it")
    return 0


def _compact(raw: bytes) -> bytes:
    try:
        msgspec.json.decode(raw)
        return msgspec.json.format(raw, indent=-1)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise CodecError("the new body is not JSON", hint="write one JSON document") from None


def _in_editor(letter: DeadLetter) -> bytes | None:
    if not sys.stdin.isatty():
        raise click.UsageError("give the new body with --body FILE, or - for standard input")
    try:
        body = decode_envelope(letter.edited or letter.document).body
    except CodecError as error:
        raise CodecError(
            f"dead letter {letter.id} has no readable envelope", hint="it can only be discarded"
        ) from error
    try:
        shown = msgspec.json.format(body, indent=2).decode()
    except (msgspec.DecodeError, UnicodeDecodeError):
        shown = body.decode(errors="replace")
    changed = click.edit(shown, extension=".json")
    return None if changed is None else changed.encode()
