"""The catalogue: the messages of each service and the versions that it understands, as one file in the repository.

Imports the messages and the declared services. The same declarations give the same file, byte for byte, independent of
time, machine and order of imports. So each change of a message is visible in a review.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

from freehold.errors import ConfigurationError, NotFound
from freehold.messages import MessageType, Registry, Upcasters, registry, upcasters
from freehold.schema.jsonschema import Schema, message_schema
from freehold.service import Service

__all__ = [
    "Catalogue",
    "CataloguedMessage",
    "CataloguedService",
    "Version",
    "catalogue_of",
    "parse_catalogue",
    "read_catalogue",
]

Version = tuple[str, int]
"""Name and version of a message."""
_FORMAT: Final = 1


@dataclass(frozen=True, slots=True)
class CataloguedMessage:
    """A declared version of a message. `key` is the field with the partition key."""

    name: str
    version: int
    kind: str
    key: str | None
    schema: Schema


@dataclass(frozen=True, slots=True)
class CataloguedService:
    """The messages that a service owns, and those that it reads.

    messages     every declared version of its events and commands.
    upcasts      the versions that upcasters read as other ones, and which.
    understands  the pins by owner and name: the versions that it handles, directly or by upcasters.
    """

    messages: Mapping[Version, CataloguedMessage]
    upcasts: Mapping[Version, tuple[Version, ...]] = field(default_factory=dict)
    understands: Mapping[str, Mapping[str, frozenset[int]]] = field(default_factory=dict)

    def versions(self, name: str) -> list[int]:
        """The declared versions of a message."""
        return sorted(version for each, version in self.messages if each == name)


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All services, by name."""

    services: Mapping[str, CataloguedService]

    def document(self) -> bytes:
        """The content of the file."""
        plain = {
            "format": _FORMAT,
            "services": {name: _plain(service) for name, service in self.services.items()},
        }
        return (json.dumps(plain, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


def catalogue_of(services: Iterable[Service], types: Registry = registry, upcasts: Upcasters = upcasters) -> Catalogue:
    """The catalogue of what the code declares. Raises `DeclarationError` for upcasters with an undeclared target."""
    upcasts.check()
    return Catalogue({each.name: _catalogued(each, types, upcasts) for each in services})


def read_catalogue(file: Path) -> Catalogue:
    """Read a catalogue. Raises `NotFound` for a missing file, and `ConfigurationError` for one that is no catalogue."""
    try:
        content = file.read_bytes()
    except FileNotFoundError as error:
        raise NotFound(f"there is no catalogue {file}", hint=f"freehold schema write {file}") from error
    return parse_catalogue(content, str(file))


def parse_catalogue(content: bytes, file: str) -> Catalogue:
    """A catalogue from the content of a file. Raises `ConfigurationError` where it is not one."""
    try:
        document = msgspec.json.decode(content, type=_Document)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"{file} is no catalogue: {error}", hint=f"freehold schema write {file} makes one"
        ) from error
    if document.format != _FORMAT:
        raise ConfigurationError(
            f"{file} has format {document.format}, but this version of Freehold reads {_FORMAT}",
            hint="use the version that wrote it",
        )
    return Catalogue({name: _read(service) for name, service in document.services.items()})


class _Place(msgspec.Struct):
    name: str
    version: int


class _Upcast(_Place):
    into: list[_Place]


class _Service(msgspec.Struct):
    messages: list[CataloguedMessage]
    upcasters: list[_Upcast] = []
    understands: dict[str, dict[str, list[int]]] = {}


class _Document(msgspec.Struct):
    format: int
    services: dict[str, _Service]


def _catalogued(service: Service, types: Registry, upcasts: Upcasters) -> CataloguedService:
    owned = sorted((each for each in types if each.service == service.name), key=_place)
    leading = sorted(upcasts, key=lambda each: (each.name, each.from_version))
    return CataloguedService(
        messages={_place(each): _message(each) for each in owned},
        upcasts={(each.name, each.from_version): each.into for each in leading if _owner(each.name) == service.name},
        understands=_understood(service, upcasts),
    )


def _understood(service: Service, upcasts: Upcasters) -> dict[str, dict[str, frozenset[int]]]:
    handled = {_place(each) for each in service.handlers}
    led = {
        (each.name, each.from_version)
        for each in upcasts
        if upcasts.ends(each.name, each.from_version, handled) & handled
    }
    pins: dict[str, dict[str, frozenset[int]]] = {}
    for name, version in handled | led:
        of_owner = pins.setdefault(_owner(name), {})
        of_owner[name] = of_owner.get(name, frozenset()) | {version}
    return pins


def _message(declared: MessageType) -> CataloguedMessage:
    return CataloguedMessage(
        declared.name, declared.version, declared.kind.value, declared.key, message_schema(declared)
    )


def _place(declared: MessageType) -> Version:
    return declared.name, declared.version


def _owner(name: str) -> str:
    return name.partition(".")[0]


def _plain(service: CataloguedService) -> dict[str, Any]:
    return {
        "messages": [
            {"name": each.name, "version": each.version, "kind": each.kind, "key": each.key, "schema": each.schema}
            for _, each in sorted(service.messages.items())
        ],
        "upcasters": [
            {"name": name, "version": version, "into": [{"name": to, "version": number} for to, number in into]}
            for (name, version), into in sorted(service.upcasts.items())
        ],
        "understands": {
            owner: {name: sorted(versions) for name, versions in names.items()}
            for owner, names in service.understands.items()
        },
    }


def _read(service: _Service) -> CataloguedService:
    return CataloguedService(
        messages={(each.name, each.version): each for each in service.messages},
        upcasts={
            (each.name, each.version): tuple((to.name, to.version) for to in each.into) for each in service.upcasters
        },
        understands={
            owner: {name: frozenset(versions) for name, versions in names.items()}
            for owner, names in service.understands.items()
        },
    )
