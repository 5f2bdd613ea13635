"""Finds breaking changes between the released catalogue and the code: what breaks, for whom, and what to do. Pure
functions.

Within one version of a message the schemas must be compatible:

BACKWARD  this code reads what the released code wrote, so consumers may be released first.
FORWARD   the released code reads what this code writes, so producers may be released first.
FULL      both: any order of release, and both versions may run at the same time.

In every mode stored messages must stay readable, messages must keep their partition key, and every consumer must
understand each declared version.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from freehold.schema.catalogue import Catalogue, CataloguedMessage, CataloguedService, Version
from freehold.schema.compare import Change, Difference, differences

__all__ = ["BreakingChange", "Compatibility", "Report", "check"]


class Compatibility(StrEnum):
    """The direction in which a change must be compatible."""

    BACKWARD = "backward"
    FORWARD = "forward"
    FULL = "full"

    @property
    def parts(self) -> tuple[Compatibility, ...]:
        """The single directions that it consists of."""
        return (Compatibility.BACKWARD, Compatibility.FORWARD) if self is Compatibility.FULL else (self,)


@dataclass(frozen=True, slots=True)
class BreakingChange:
    """A breaking change. `rule` is a stable word for programs; `path` is empty for the whole message.

    what    what has changed.
    breaks  what breaks by it.
    hint    what to do instead.
    """

    service: str
    message: str
    version: int
    path: str
    rule: str
    what: str
    breaks: str
    hint: str


@dataclass(frozen=True, slots=True)
class Report:
    """The breaking changes, and notes for the user."""

    findings: tuple[BreakingChange, ...]
    notes: tuple[str, ...]
    compared: int
    """The number of versions of messages in both catalogues."""


def check(released: Catalogue, code: Catalogue, compatibility: Compatibility = Compatibility.FULL) -> Report:
    """Compare the code with the released catalogue."""
    findings: list[BreakingChange] = []
    notes: list[str] = []
    compared = 0
    for name, before in sorted(released.services.items()):
        now = code.services.get(name)
        if now is None:
            notes.append(f"{name} is in the catalogue and not in this project: its messages were not compared")
            continue
        compared += len(before.messages.keys() & now.messages.keys())
        findings += _service_findings(name, before, now, compatibility)
    findings += _pin_findings(released, code)
    notes += _raised(released, code)
    return Report(tuple(findings), tuple(notes), compared)


def _service_findings(
    service: str, before: CataloguedService, now: CataloguedService, compatibility: Compatibility
) -> Iterator[BreakingChange]:
    for place in sorted(before.messages.keys() | before.upcasts.keys()):
        if place not in now.messages and place not in now.upcasts:
            yield _vanished(service, place, now)
        elif place in before.messages and place in now.messages:
            yield from _message_findings(service, before.messages[place], now.messages[place], compatibility, now)


def _message_findings(
    service: str,
    before: CataloguedMessage,
    now: CataloguedMessage,
    compatibility: Compatibility,
    owner: CataloguedService,
) -> Iterator[BreakingChange]:
    if before.kind != now.kind:
        what = f"was {_KINDS[before.kind]}, is {_KINDS[now.kind]}"
        breaks = "it is sent to another topic, which its consumers do not read"
        yield BreakingChange(service, now.name, now.version, "", "kind", what, breaks, "give the new one another name")
    if before.key != now.key:
        yield _key_changed(service, before, now)
    newest = max(owner.versions(now.name))
    for direction in compatibility.parts:
        backward = direction is Compatibility.BACKWARD
        writer, reader = (before, now) if backward else (now, before)
        for each in differences(writer.schema, reader.schema):
            yield BreakingChange(
                service,
                now.name,
                now.version,
                each.path,
                f"{direction}-{each.change}",
                _what(each, backward=backward),
                _breaks(each, now.version, backward=backward),
                _hint(each, now, newest, backward=backward),
            )


_KINDS: Final = {"event": "an event", "command": "a command", "reply": "a reply"}
_BACKWARD_BREAKS: Final = "this code cannot read stored or sent messages of version {version}"
_FORWARD_BREAKS: Final = "released consumers cannot read what this code writes"


def _breaks(each: Difference, version: int, *, backward: bool) -> str:
    if each.change is Change.DEFAULT:
        if backward:
            return f"this code reads another value from stored or sent messages of version {version}"
        return "released consumers read another value from what this code writes"
    return _BACKWARD_BREAKS.format(version=version) if backward else _FORWARD_BREAKS


def _what(each: Difference, *, backward: bool) -> str:
    if each.change is Change.REQUIRED:
        if backward:
            return f"is required now, and was {each.written} before"
        return f"was required, and is {each.written} now"
    if each.change is Change.VALUE:
        moments = ("was written", "is read now") if backward else ("is written now", "was read")
        return f"{each.written} {moments[0]}, but what {moments[1]} is {each.read}"
    if each.change is Change.UNKNOWN_FIELD:
        moments = ("was written", "are refused now") if backward else ("is new", "were refused")
        return f"{moments[0]} ({each.written}), and unknown fields {moments[1]}"
    before, now = (each.written, each.read) if backward else (each.read, each.written)
    return f"was {before}, is {now}"


def _hint(each: Difference, message: CataloguedMessage, newest: int, *, backward: bool) -> str:
    if message.version < newest:
        return f"leave it as it was released, and put the change into version {newest + 1}"
    raised = f'declare version {newest + 1} and write @upcaster("{message.name}", from_version={message.version})'
    if each.change is Change.REQUIRED:
        return f"give it a default, or {raised}" if backward else f"keep writing it, or {raised}"
    if each.change is Change.VALUE and not backward:
        return f"release its consumers first, and check with --compatibility backward, or {raised}"
    return f"leave it as it was, or {raised}"


def _vanished(service: str, place: Version, now: CataloguedService) -> BreakingChange:
    name, version = place
    later = [each for each in now.versions(name) if each > version]
    target = f"version {version + 1}" if later else "a message that replaces it"
    return BreakingChange(
        service,
        name,
        version,
        "",
        "vanished",
        "is no longer declared or upcast",
        "stored or sent messages of this version cannot be read",
        f'write @upcaster("{name}", from_version={version}) that leads to {target}'
        + ("" if later else ", or to nothing with into=()"),
    )


def _key_changed(service: str, before: CataloguedMessage, now: CataloguedMessage) -> BreakingChange:
    return BreakingChange(
        service,
        now.name,
        now.version,
        f"$.{now.key or before.key}",
        "key",
        f"the partition key was {before.key or 'nothing'}, and is {now.key or 'nothing'}",
        "messages with the new key can overtake messages with the old one that are still in transit",
        "keep the key, or publish an event of another name",
    )


def _pin_findings(released: Catalogue, code: Catalogue) -> Iterator[BreakingChange]:
    """Check the pins of all consumers: those of this project as in the code, others as in the catalogue."""
    consumers = {**released.services, **code.services}
    for consumer, pinning in sorted(consumers.items()):
        for owner, names in sorted(pinning.understands.items()):
            producer = code.services.get(owner)
            if producer is None:
                continue
            for name, understood in sorted(names.items()):
                yield from _pin(consumer, owner, name, understood, producer)


def _pin(
    consumer: str, owner: str, name: str, understood: frozenset[int], producer: CataloguedService
) -> Iterator[BreakingChange]:
    known = ", ".join(map(str, sorted(understood)))
    declared = producer.versions(name)
    if not declared and not any(place[0] == name for place in producer.upcasts):
        what = f"is no longer declared by {owner}, but {consumer} understands version {known}"
        hint = f"keep it, or remove the handler from {consumer} first"
        yield BreakingChange(
            owner, name, max(understood), "", "pin-lost", what, f"{consumer} waits for messages that never come", hint
        )
    for version in declared:
        if version not in understood:
            yield BreakingChange(
                owner,
                name,
                version,
                "",
                "not-understood",
                f"is declared, but {consumer} understands only version {known}",
                f"each such message becomes a dead letter of {consumer}",
                f"handle version {version} in {consumer}, or write an upcaster to a version that it handles",
            )


def _raised(released: Catalogue, code: Catalogue) -> list[str]:
    """Notes about new versions of known messages: their consumers must be released before their producer."""
    notes = []
    for owner, before in sorted(released.services.items()):
        now = code.services.get(owner)
        fresh = sorted(now.messages.keys() - before.messages.keys()) if now else []
        for name, version in fresh:
            readers = sorted(
                consumer
                for consumer, each in released.services.items()
                if consumer != owner
                and version not in (understood := each.understands.get(owner, {}).get(name, frozenset()))
                and understood
            )
            if readers:
                notes.append(f"{name} version {version} is new: release {', '.join(readers)} before {owner}")
    return notes
