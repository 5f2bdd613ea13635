"""Upcasters: pure functions that carry an old version of a message to the next. Imports the codec and the foundation.

What was once published or stored stays as it was written. Who reads it is given what is declared today: an upcaster
takes the JSON body of one version and returns that of the next, and upcasters follow each other until they end.
A version that no upcaster starts from is decoded straight into its class, without any of this in between.
"""

from __future__ import annotations

import copy
import inspect
import traceback
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias, TypeVar

import msgspec

from freehold.errors import CodecError, DeclarationError, UnknownMessage
from freehold.messages.codec import decode_body
from freehold.messages.declaration import MessageType, Registry, message_type, registry

__all__ = [
    "MessageVersion",
    "Upcast",
    "Upcaster",
    "UpcasterFunction",
    "Upcasters",
    "check_upcasters",
    "decode_upcast",
    "read_event",
    "upcaster",
    "upcasters",
]

MessageVersion: TypeAlias = tuple[str, int]
"""Name and version."""


@dataclass(frozen=True, slots=True)
class Upcast:
    """A message that an upcaster made of an older one: its name, its version, and its body as JSON has it."""

    name: str
    version: int
    body: Mapping[str, Any] = field(repr=False)


UpcasterFunction: TypeAlias = Callable[[dict[str, Any]], Mapping[str, Any] | Sequence[Upcast] | None]


@dataclass(frozen=True, slots=True)
class Upcaster:
    """A declared function: from one version of a message into what it may make of it."""

    name: str
    from_version: int
    function: UpcasterFunction
    into: tuple[MessageVersion, ...]

    @property
    def place(self) -> str:
        """Where it is, for people: module and function."""
        return f"{self.function.__module__}.{self.function.__qualname__}"

    def apply(self, body: dict[str, Any]) -> Sequence[tuple[MessageVersion, dict[str, Any]]]:
        """Call the function. Raises `CodecError` where it fails, or returns what it did not declare; never content."""
        try:
            result = self.function(body)
        except Exception as error:  # noqa: BLE001 - whatever a function raises may hold content
            line = traceback.extract_tb(error.__traceback__, limit=2)[-1].lineno
            raise CodecError(
                f"{self._described} failed with {type(error).__name__} in line {line}",
                hint="an upcaster must take every body that was ever written in its version",
            ) from None
        if result is None:
            return ()
        if isinstance(result, Mapping):
            if len(self.into) != 1:
                raise CodecError(
                    f"{self._described} returned one body for {len(self.into)} targets", hint="return Upcast(...)s"
                )
            return ((self.into[0], dict(result)),)
        if not isinstance(result, (list, tuple)):
            raise CodecError(
                f"{self._described} returned {type(result).__name__}", hint="return a dict, None or a list of Upcast"
            )
        made = [self._made(each) for each in result]
        # Results may share parts of the old body, and upcasters may change what they are given.
        return [(place, copy.deepcopy(part)) for place, part in made] if len(made) > 1 else made

    def _made(self, each: object) -> tuple[MessageVersion, dict[str, Any]]:
        if not isinstance(each, Upcast):
            raise CodecError(f"{self._described} returned a list of {type(each).__name__}", hint="return Upcast(...)s")
        if (each.name, each.version) not in self.into:
            raise CodecError(
                f"{self._described} made '{each.name}' version {each.version}, which it did not declare",
                hint="name it in `into`",
            )
        return (each.name, each.version), dict(each.body)

    @property
    def _described(self) -> str:
        return f"the upcaster of '{self.name}' version {self.from_version} ({self.place})"


F = TypeVar("F", bound=UpcasterFunction)


class Upcasters:
    """The upcasters declared in this process, over the message classes of a registry."""

    def __init__(self, types: Registry) -> None:
        self._types = types
        self._by_place: dict[MessageVersion, Upcaster] = {}
        self._direct: dict[MessageVersion, Callable[[bytes], object]] = {}
        self._changes = types.changes

    def add(self, added: Upcaster) -> None:
        """Enter an upcaster. Raises `DeclarationError` where another starts there, or where it would lead in a ring."""
        start = (added.name, added.from_version)
        known = self._by_place.get(start)
        if known is not None and known.place != added.place:
            raise DeclarationError(
                f"two upcasters start from '{added.name}' version {added.from_version}:"
                f" {known.place} and {added.place}",
                hint="one version leads on in one way; return several Upcast(...)s from one function",
            )
        if any(start in self._passed(target) for target in added.into):
            raise DeclarationError(
                f"{added.place} leads '{added.name}' version {added.from_version} back to itself",
                hint="an upcaster leads to a later version, or to another message",
            )
        self._by_place[start] = added
        self._direct.clear()

    def __iter__(self) -> Iterator[Upcaster]:
        """Iterate over all declared upcasters."""
        return iter(tuple(self._by_place.values()))

    def find(self, name: str, version: int) -> Upcaster | None:
        """Return what starts from a version, if anything does."""
        return self._by_place.get((name, version))

    def ends(self, name: str, version: int, wanted: Collection[MessageVersion] = ()) -> frozenset[MessageVersion]:
        """Return where a message may end: at what is wanted, else where no upcaster leads on. Empty: at nothing."""
        return frozenset(
            each for each in self._passed((name, version), wanted) if each in wanted or each not in self._by_place
        )

    def unfold(
        self, name: str, version: int, body: bytes, wanted: Collection[MessageVersion] = ()
    ) -> list[tuple[MessageVersion, dict[str, Any]]]:
        """Apply upcasters until each result is wanted or nothing leads on from it; results in the order of returning.

        Raises `CodecError` for a body that is no JSON object and for what `Upcaster.apply` does.
        """
        try:
            return self._unfold((name, version), msgspec.json.decode(body), wanted)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise CodecError(f"the body of '{name}' version {version} is no JSON, or nested too deeply") from None

    def _unfold(
        self, start: MessageVersion, body: object, wanted: Collection[MessageVersion]
    ) -> list[tuple[MessageVersion, dict[str, Any]]]:
        if not isinstance(body, dict):
            raise CodecError(f"the body of '{start[0]}' version {start[1]} is no JSON object")
        made: list[tuple[MessageVersion, dict[str, Any]]] = []
        # Depth first, so that what came of an earlier result stays before what came of a later one.
        waiting: list[tuple[MessageVersion, dict[str, Any]]] = [(start, body)]
        while waiting:
            place, each = waiting.pop()
            leads_on = None if place in wanted else self._by_place.get(place)
            if leads_on is None:
                made.append((place, each))
            else:
                waiting.extend(reversed(leads_on.apply(each)))
        return made

    def read(self, name: str, version: int, body: bytes) -> tuple[object, ...]:
        """As `read_event`."""
        if self._changes == self._types.changes:
            decode = self._direct.get((name, version))
            if decode is not None:
                try:
                    return (decode(body),)
                except (msgspec.MsgspecError, ValueError, RecursionError):
                    return (decode_body(body, self._types.find(name, version)),)  # tells what is wrong with it
        return self._read_anew(name, version, body)

    def _read_anew(self, name: str, version: int, body: bytes) -> tuple[object, ...]:
        if self._changes != self._types.changes:
            self._direct.clear()
            self._changes = self._types.changes
        if (name, version) not in self._by_place:
            found = self._types.find(name, version)
            self._direct[name, version] = msgspec.json.Decoder(found.cls).decode
            return (decode_body(body, found),)
        return tuple(decode_upcast(each, self._types.find(*place)) for place, each in self.unfold(name, version, body))

    def check(self) -> None:
        """Raise `DeclarationError` for the first upcaster that leads to what is not declared."""
        for each in sorted(self, key=lambda upcaster: (upcaster.name, upcaster.from_version)):
            for name, version in sorted(self.ends(each.name, each.from_version)):
                try:
                    self._types.find(name, version)
                except UnknownMessage as error:
                    raise DeclarationError(
                        f"{each.place} leads '{each.name}' version {each.from_version} to '{name}' version {version},"
                        " which is neither declared nor upcast",
                        hint=f'declare @event("{name}", version={version}), or write the upcaster that leads on',
                    ) from error

    def _passed(self, start: MessageVersion, wanted: Collection[MessageVersion] = ()) -> set[MessageVersion]:
        """Every place that a message may pass, its start and its ends among them."""
        passed: set[MessageVersion] = set()
        waiting = [start]
        while waiting:
            place = waiting.pop()
            if place in passed:
                continue
            passed.add(place)
            leads_on = None if place in wanted else self._by_place.get(place)
            if leads_on is not None:
                waiting.extend(leads_on.into)
        return passed


upcasters: Final = Upcasters(registry)
"""Those of the messages declared in this process."""


def upcaster(
    name: str, *, from_version: int, into: Iterable[type[Any] | MessageVersion] | None = None
) -> Callable[[F], F]:
    """Declare a pure function that carries a message from one version to the next, or to others.

    It is given the body as JSON has it (a dict of its own, which it may change), and returns the body of the next
    version, None where the message means nothing any more, or a list of `Upcast`, which are read in this order. It
    must take every body ever written in its version and must depend on nothing else: it runs again with every read.

    into    what it may make, as declared classes or (name, version): needed where it is not just the next version.
            A returned dict is the body of the only one of them.
    """
    targets = ((name, from_version + 1),) if into is None else tuple(_place(each) for each in into)
    if from_version < 1:
        raise DeclarationError(f"'{name}': from_version must be 1 or more, not {from_version}")

    def decorate(function: F) -> F:
        if inspect.iscoroutinefunction(function):
            raise DeclarationError(
                f"{function.__qualname__} must be a plain function, for an upcaster waits for nothing"
            )
        upcasters.add(Upcaster(name, from_version, function, targets))
        return function

    return decorate


def read_event(name: str, version: int, body: bytes) -> tuple[object, ...]:
    """Return what a stored or delivered message means today: instances of declared classes.

    A version that is declared and that no upcaster starts from is decoded straight into its class: one instance.
    From any other version the upcasters are followed, one after the other, until none leads on: mostly one instance,
    none where one of them returned None, several where one returned a list. Several are in the order in which they
    were returned, those made of an earlier one before those of a later one; a reader hands them on in this order, as
    one unit, at the one position of the message. Nothing is kept between calls: the same bytes give equal instances
    for as long as the declarations are the same, which rests on upcasters being pure. Unknown fields are passed over.

    Raises `UnknownMessage` where a name and version is neither declared nor upcast, and `CodecError` for a body that
    does not fit or an upcaster that fails; both name the place and never the content. Then nothing was returned.
    """
    return upcasters.read(name, version, body)


def check_upcasters() -> None:
    """Check that every upcaster leads to declared versions; called once all modules are imported.

    Raises `DeclarationError`. Two upcasters of one version, and a ring of them, are refused where they are declared.
    """
    upcasters.check()


def decode_upcast(body: Mapping[str, Any], declared: MessageType) -> Any:
    """Return the message of an upcast body, by the same rules as one that was read from the wire."""
    try:
        encoded = msgspec.json.encode(body)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise CodecError(
            f"what was upcast to '{declared.name}' version {declared.version} holds what JSON cannot:"
            f" {type(error).__name__}"
        ) from None
    return decode_body(encoded, declared)


def _place(target: type[Any] | MessageVersion) -> MessageVersion:
    if isinstance(target, tuple):
        return target
    declared = message_type(target)
    return declared.name, declared.version
