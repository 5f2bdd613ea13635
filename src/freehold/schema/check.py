"""What of the code breaks with the catalogue that was released: whom, where, and what to do. Pure functions.

Within a version the schemas must fit. `BACKWARD`: this code reads what the released code wrote, so whoever reads may be
released first. `FORWARD`: the released code reads what this code writes, so whoever writes may be released first.
`FULL` is both: in any order, and with both running side by side. In every mode what was stored must stay readable,
messages must keep the key of their order, and every consumer must understand each version that is declared.
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
    """What is asked of a change."""

    BACKWARD = "backward"
    FORWARD = "forward"
    FULL = "full"

    @property
    def parts(self) -> tuple[Compatibility, ...]:
        """Which directions it consists of."""
        return (Compatibility.BACKWARD, Compatibility.FORWARD) if self is Compatibility.FULL else (self,)


@dataclass(frozen=True, slots=True)
class BreakingChange:
    """A change that breaks. `rule` is a stable word for programs; `path` is empty where it is about the whole message.

    what    what changed.
    breaks  whom, and how.
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
    """What was found, and what is good to know."""

    findings: tuple[BreakingChange, ...]
    notes: tuple[str, ...]
    compared: int
    """How many versions of messages stand in both."""


def check(released: Catalogue, code: Catalogue, compatibility: Compatibility = Compatibility.FULL) -> Report:
    """Compare the code with what was released."""
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
        breaks = "it travels in another topic, which its consumers do not read"
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
_BACKWARD_BREAKS: Final = "this code cannot read what was stored or sent in version {version} before"
_FORWARD_BREAKS: Final = "released consumers cannot read what this code writes"


def _breaks(each: Difference, version: int, *, backward: bool) -> str:
    if each.change is Change.DEFAULT:
        if backward:
            return f"this code takes what was stored or sent in version {version} before for something else"
        return "released consumers take what this code writes for something else"
    return _BACKWARD_BREAKS.format(version=version) if backward else _FORWARD_BREAKS


def _what(each: Difference, *, backward: bool) -> str:
    if each.change is Change.REQUIRED:
        if backward:
            return f"is required now, and was {each.written} before"
        return f"was required, and is {each.written} any more"
    if each.change is Change.VALUE:
        moments = ("was written", "is read now") if backward else ("is written now", "was read")
        return f"{each.written} {moments[0]}, and what {moments[1]} is {each.read}"
    if each.change is Change.UNKNOWN_FIELD:
        moments = ("was written", "are refused now") if backward else ("is new", "were refused")
        return f"{moments[0]} ({each.written}), and unknown fields {moments[1]}"
    before, now = (each.written, each.read) if backward else (each.read, each.written)
    return f"was {before}, is {now}"


def _hint(each: Difference, message: CataloguedMessage, newest: int, *, backward: bool) -> str:
    if message.version < newest:
        return f"leave it as it was released: what changes belongs into version {newest + 1}"
    raised = f'declare version {newest + 1} and write @upcaster("{message.name}", from_version={message.version})'
    if each.change is Change.REQUIRED:
        return f"give it a default, or {raised}" if backward else f"keep writing it, or {raised}"
    if each.change is Change.VALUE and not backward:
        return f"release its readers first, and check with --compatibility backward, or {raised}"
    return f"leave it as it was, or {raised}"


def _vanished(service: str, place: Version, now: CataloguedService) -> BreakingChange:
    name, version = place
    later = [each for each in now.versions(name) if each > version]
    target = f"version {version + 1}" if later else "what it means today"
    return BreakingChange(
        service,
        name,
        version,
        "",
        "vanished",
        "is neither declared nor upcast any more",
        "what was stored or sent in it cannot be read",
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
        f"messages were in order by {before.key or 'nothing'}, and are by {now.key or 'nothing'}",
        "what is on its way in the old order is overtaken by what is sent in the new one",
        "keep the key, or publish an event of another name",
    )


def _pin_findings(released: Catalogue, code: Catalogue) -> Iterator[BreakingChange]:
    """Consumers of this project as they are now, and those of others as they were catalogued."""
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
        what = f"is not declared by {owner} any more, and {consumer} understands version {known}"
        hint = f"keep it, or take the handler out of {consumer} first"
        yield BreakingChange(
            owner, name, max(understood), "", "pin-lost", what, f"{consumer} waits for what never comes", hint
        )
    for version in declared:
        if version not in understood:
            yield BreakingChange(
                owner,
                name,
                version,
                "",
                "not-understood",
                f"is declared, and {consumer} understands version {known}",
                f"each one becomes a dead letter of {consumer}",
                f"handle version {version} in {consumer}, or write the upcaster that leads to what it handles",
            )


def _raised(released: Catalogue, code: Catalogue) -> list[str]:
    """New versions of known messages: whoever reads them has to be released before whoever writes them."""
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
