"""The declaration of events and commands: a stable name and version on a frozen, typed class.

Imports the standard library, msgspec and the foundation. `@event` and `@command` make the class a frozen, slotted
dataclass, check at once that the codec knows each field's type, and add it to the registry of the process. The first
part of the name is the service that owns the message: `orders.order-placed` is published by `orders`, and
`inventory.reserve-stock` is handled by `inventory`.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, TypeVar, dataclass_transform

import msgspec

from freehold.errors import DeclarationError, UnknownMessage

__all__ = [
    "NAME_LENGTH_MAX",
    "VERSION_MAX",
    "MessageKind",
    "MessageType",
    "Registry",
    "command",
    "event",
    "message_type",
    "registry",
]

VERSION_MAX: Final = 2**31 - 1
"""The highest version of a message: databases store it in 32 bits."""

NAME_LENGTH_MAX: Final = 200
"""The longest name of a message."""

T = TypeVar("T")
_NAME = re.compile(r"^[a-z][a-z0-9-]*(\.[a-z][a-z0-9-]*)+$")
_ATTRIBUTE = "__freehold_message__"


class MessageKind(StrEnum):
    """The kind of a message: an event is a fact, a command a request to one service, a reply answers a request."""

    EVENT = "event"
    COMMAND = "command"
    REPLY = "reply"


@dataclass(frozen=True, slots=True)
class MessageType:
    """The declaration of a message class. `key` names the field whose value is the partition key."""

    name: str
    version: int
    kind: MessageKind
    cls: type[Any]
    key: str | None

    @property
    def service(self) -> str:
        """The service that owns the message."""
        return self.name.partition(".")[0]

    @property
    def topic(self) -> str:
        """The topic of the message: `orders.events`, `inventory.commands`."""
        return f"{self.service}.{'events' if self.kind is MessageKind.EVENT else 'commands'}"

    def partition_key(self, message: object) -> str | None:
        """Return the value of the key field as text; None where there is no key field or its value is None, so that no
        order is kept.
        """
        value = None if self.key is None else getattr(message, self.key)
        return None if value is None else str(value)


class Registry:
    """The message classes declared in this process, by name and version."""

    def __init__(self) -> None:
        self._types: dict[tuple[str, int], MessageType] = {}
        self.changes = 0
        """Number of calls of `add`. A cache of look-ups is valid as long as this number stays the same."""

    def add(self, declared: MessageType) -> None:
        """Add a type. Raises `DeclarationError` where name and version belong to another class."""
        known = self._types.get((declared.name, declared.version))
        if known is not None and _path(known.cls) != _path(declared.cls):
            raise DeclarationError(
                f"'{declared.name}' version {declared.version} is declared twice:"
                f" by {_path(known.cls)} and by {_path(declared.cls)}",
                hint="give one of them another name, or the next version",
            )
        self._types[declared.name, declared.version] = declared
        self.changes += 1

    def find(self, name: str, version: int) -> MessageType:
        """Return the type. Raises `UnknownMessage`, which lists the known versions."""
        try:
            return self._types[name, version]
        except KeyError:
            versions = sorted(v for n, v in self._types if n == name)
            known = f"known versions: {', '.join(map(str, versions))}" if versions else "no version is known here"
            raise UnknownMessage(
                f"message type '{name}' version {version} is not declared in this process ({known})",
                hint="import the module that declares it, or add an upcaster",
            ) from None

    def __iter__(self) -> Iterator[MessageType]:
        """Iterate over all declared types."""
        return iter(tuple(self._types.values()))


registry = Registry()


@dataclass_transform(frozen_default=True, kw_only_default=False)
def event(name: str, *, version: int = 1, key: str | None = None) -> Callable[[type[T]], type[T]]:
    """Declare an event, a fact. `key` names the field of the partition key: messages of equal keys keep their order."""
    return _declare(name, version, key, MessageKind.EVENT)


@dataclass_transform(frozen_default=True, kw_only_default=False)
def command(name: str, *, version: int = 1, key: str | None = None) -> Callable[[type[T]], type[T]]:
    """Declare a command, a request to the service whose name is the first part of `name`. `key` is as in `event`."""
    return _declare(name, version, key, MessageKind.COMMAND)


def message_type(message: object) -> MessageType:
    """Return the declaration of a message class or of an instance. Raises `DeclarationError` for any other class."""
    cls = message if isinstance(message, type) else type(message)
    declared = cls.__dict__.get(_ATTRIBUTE)
    if not isinstance(declared, MessageType):
        raise DeclarationError(
            f"{_path(cls)} is not a message", hint='decorate it with @event("service.name", version=1) or @command(...)'
        )
    return declared


def _declare(name: str, version: int, key: str | None, kind: MessageKind) -> Callable[[type[T]], type[T]]:
    if not _NAME.fullmatch(name):
        raise DeclarationError(
            f"'{name}' is not a message name", hint="write 'service.what-happened': lower case, parts joined by dots"
        )
    if len(name) > NAME_LENGTH_MAX:
        raise DeclarationError(f"'{name[:20]}…': a message name must have at most {NAME_LENGTH_MAX} characters")
    if type(version) is not int or not 1 <= version <= VERSION_MAX:
        raise DeclarationError(f"'{name}': version must be 1 or more, not {version}", hint="an integer of 31 bits")

    def decorate(cls: type[T]) -> type[T]:
        made: type[T] = cls if dataclasses.is_dataclass(cls) else dataclass(frozen=True, slots=True)(cls)
        fields = {field.name for field in dataclasses.fields(made)}  # type: ignore[arg-type] # it is one by now
        if key is not None and key not in fields:
            raise DeclarationError(f"{_path(cls)}: key field '{key}' does not exist", hint=f"fields: {sorted(fields)}")
        _check_codec(made)
        declared = MessageType(name=name, version=version, kind=kind, cls=made, key=key)
        setattr(made, _ATTRIBUTE, declared)
        registry.add(declared)
        return made

    return decorate


def _check_codec(cls: type[Any]) -> None:
    if not cls.__dataclass_params__.frozen:
        raise DeclarationError(f"{_path(cls)} must be frozen", hint="use a plain class, or @dataclass(frozen=True)")
    try:
        msgspec.json.Decoder(cls)
    except NameError:
        return  # a class inside a function, whose annotations cannot be resolved yet; the codec tries again on use
    except TypeError as error:
        raise DeclarationError(f"{_path(cls)} has a field that cannot be encoded: {error}") from error


def _path(cls: type[Any]) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"
