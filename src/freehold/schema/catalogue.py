"""The catalogue: what each service publishes, accepts and understands, as one file in the repository.

Imports the messages and the declared services. The file is the same for the same declarations, byte for byte, so that a
change of a message is a change that a review sees; nothing in it depends on time, place or order of imports.
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
    """A declared version of a message: `key` names the field whose equal values keep their order."""

    name: str
    version: int
    kind: str
    key: str | None
    schema: Schema


@dataclass(frozen=True, slots=True)
class CataloguedService:
    """What a service owns, and what it reads.

    messages     every declared version of its events and commands.
    upcasts      what is read as something else, and as what.
    understands  the pins: owner, name, and the versions that it handles or that upcasters lead to a handler of it.
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
        """The file's content."""
        plain = {
            "format": _FORMAT,
            "services": {name: _plain(service) for name, service in self.services.items()},
        }
        return (json.dumps(plain, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


def catalogue_of(services: Iterable[Service], types: Registry = registry, upcasts: Upcasters = upcasters) -> Catalogue:
    """Return what the code declares. Raises `DeclarationError` for upcasters that lead nowhere."""
    upcasts.check()
    return Catalogue({each.name: _catalogued(each, types, upcasts) for each in services})


def read_catalogue(file: Path) -> Catalogue:
    """Read a catalogue. Raises `NotFound` where there is none, and `ConfigurationError` for a file that is none."""
    try:
        content = file.read_bytes()
    except FileNotFoundError as error:
        raise NotFound(f"there is no catalogue {file}", hint=f"freehold schema write {file}") from error
    return parse_catalogue(content, str(file))


def parse_catalogue(content: bytes, file: str) -> Catalogue:
    """A catalogue from what a file holds. Raises `ConfigurationError` for what is none."""
    try:
        document = msgspec.json.decode(content, type=_Document)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"{file} is no catalogue: {error}", hint=f"freehold schema write {file} makes one"
        ) from error
    if document.format != _FORMAT:
        raise ConfigurationError(
            f"{file} has format {document.format}, and this is for {_FORMAT}", hint="use the Freehold that wrote it"
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
