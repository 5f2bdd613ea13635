"""`freehold dlq list` and `show`. Face."""

from __future__ import annotations

from uuid import UUID

import click
import msgspec

from freehold.cli.options import asynchronous, json_option, limit_option, service_option
from freehold.cli.output import ago, answer_json, document_of, line, table
from freehold.cli.project import Project
from freehold.cli.services import ServiceAccess
from freehold.deadletters.commands.group import command, filters, open_owner
from freehold.deadletters.store import DEAD_LETTERS, DeadLetter, DeadLetterFilter, DeadLetterStatus

__all__ = ["list_", "show"]

_COLUMNS = ("service", "id", "failed_at", "type", "key", "consumer", "reason", "error_type", "attempts", "status")
_FACTS = (
    "id", "direction", "consumer", "topic", "key", "message_id", "type", "reason", "error_type", "detail", "attempts",
    "failed_at", "status", "replayed_as",
)  # fmt: skip


@command.command("list", help="Dead letters, the newest first.")
@service_option
@filters
@click.option(
    "--status",
    type=click.Choice([*(each.value for each in DeadLetterStatus), "any"]),
    default="dead",
    show_default=True,
)
@limit_option(100)
@json_option
@asynchronous
async def list_(
    project: Project,
    *,
    names: tuple[str, ...],
    type_: str | None,
    error_reason: str | None,
    consumer: str | None,
    status: str,
    limit: int,
    as_json: bool,
) -> int:
    """List dead letters."""
    chosen = None if status == "any" else DeadLetterStatus(status)
    wanted = DeadLetterFilter(status=chosen, consumer=consumer, type=type_, reason=error_reason, limit=limit)
    found: list[tuple[str, DeadLetter]] = []
    async with project.open(names) as opened:
        for access, letters_found in await opened.each(lambda access: access.stores[DEAD_LETTERS].find(wanted)):
            found += [(access.name, letter) for letter in letters_found]
    found = sorted(found, key=lambda each: (each[1].failed_at, each[1].id), reverse=True)[:limit]
    if as_json:
        letters = [{"service": name, **{key: getattr(each, key) for key in _COLUMNS[1:]}} for name, each in found]
        answer_json({"dead_letters": letters, "failed": opened.as_document()})
    else:
        _print(found, with_status=chosen is not DeadLetterStatus.DEAD)
    return opened.code


def _print(found: list[tuple[str, DeadLetter]], *, with_status: bool) -> None:
    columns = ("service", "id", "failed", "type", "key", "reason", "error", "attempts", "status")
    rows = [
        (name, each.id, ago(each.failed_at), each.type, each.key, each.reason, each.error_type, each.attempts)
        + ((each.status,) if with_status else ())
        for name, each in found
    ]
    least = ("attempts", "key", "error", "service", "type")
    table("Dead letters", columns if with_status else columns[:-1], rows, empty="none", least=least)


@command.command(help="Show one dead letter with its payload.")
@click.argument("letter_id", metavar="ID", type=click.UUID)
@service_option
@json_option
@asynchronous
async def show(project: Project, letter_id: UUID, names: tuple[str, ...], *, as_json: bool) -> int:
    """Show a dead letter with its document, and with its edited document, if any."""
    async with open_owner(project, names, letter_id) as (access, letter):
        if as_json:
            answer_json(_document(access, letter))
            return 0
    line(f"{'service':<12} {access.name}")
    for name in _FACTS:
        value = getattr(letter, name)
        line(f"{name:<12} {'-' if value is None or value == '' else value}")
    for title, content in (("document", letter.document), ("edited", letter.edited)):
        if content is not None:
            line(title, style="bold")
            line(_readable(content))
    return 0


def _document(access: ServiceAccess, letter: DeadLetter) -> dict[str, object]:
    facts = {name: getattr(letter, name) for name in _FACTS}
    documents = {"document": document_of(letter.document), "edited": document_of(letter.edited)}
    return {"service": access.name, **facts, **documents}


def _readable(content: bytes) -> str:
    try:
        return msgspec.json.format(content, indent=2).decode()
    except (msgspec.DecodeError, UnicodeDecodeError):
        return content.decode(errors="backslashreplace")
