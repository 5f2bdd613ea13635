"""Upcasters: pure functions that carry an old version of a message to the next. Imports the codec and the foundation.

What was once published or stored stays as it was written. Who reads it is given what is declared today: an upcaster
takes the JSON body of one version and returns that of the next, and upcasters follow each other until they end.
A version that no upcaster starts from is decoded straight into its class, without any of this in between.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, Final, TypeVar

import msgspec

from freehold.errors import CodecError, DeclarationError, UnknownMessage
from freehold.messages.codec import decode_body
from freehold.messages.declaration import MessageType, Registry, message_type, registry
from freehold.messages.upcast import Place, Upcaster, UpcasterFunction

__all__ = ["Upcasters", "check_upcasters", "decode_upcast", "read_event", "upcaster", "upcasters"]

F = TypeVar("F", bound=UpcasterFunction)


class Upcasters:
    """The upcasters declared in this process, over the message classes of a registry."""

    def __init__(self, types: Registry) -> None:
        self._types = types
        self._by_place: dict[Place, Upcaster] = {}
        self._direct: dict[Place, Callable[[bytes], object]] = {}
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

    def ends(self, name: str, version: int, wanted: Collection[Place] = ()) -> frozenset[Place]:
        """Return where a message may end: at what is wanted, else where no upcaster leads on. Empty: at nothing."""
        return frozenset(
            each for each in self._passed((name, version), wanted) if each in wanted or each not in self._by_place
        )

    def unfold(
        self, name: str, version: int, body: bytes, wanted: Collection[Place] = ()
    ) -> list[tuple[Place, dict[str, Any]]]:
        """Apply upcasters until each result is wanted or nothing leads on from it; results in the order of returning.

        Raises `CodecError` for a body that is no JSON object and for what `Upcaster.apply` does.
        """
        try:
            return self._unfold((name, version), msgspec.json.decode(body), wanted)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise CodecError(f"the body of '{name}' version {version} is no JSON, or nested too deeply") from None

    def _unfold(self, start: Place, body: object, wanted: Collection[Place]) -> list[tuple[Place, dict[str, Any]]]:
        if not isinstance(body, dict):
            raise CodecError(f"the body of '{start[0]}' version {start[1]} is no JSON object")
        made: list[tuple[Place, dict[str, Any]]] = []
        # Depth first, so that what came of an earlier result stays before what came of a later one.
        waiting: list[tuple[Place, dict[str, Any]]] = [(start, body)]
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

    def _passed(self, start: Place, wanted: Collection[Place] = ()) -> set[Place]:
        """Every place that a message may pass, its start and its ends among them."""
        passed: set[Place] = set()
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


def upcaster(name: str, *, from_version: int, into: Iterable[type[Any] | Place] | None = None) -> Callable[[F], F]:
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


def _place(target: type[Any] | Place) -> Place:
    if isinstance(target, tuple):
        return target
    declared = message_type(target)
    return declared.name, declared.version
