"""Upcasters: pure functions that turn an old version of a message into the next. Imports the codec and the foundation.

Published and stored messages are never rewritten. Readers get the versions that are declared today: an upcaster takes
the JSON body of one version and returns that of the next, and upcasters are applied one after the other until none
starts from the result. A version that no upcaster starts from is decoded directly into its class.
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
from freehold.messages.codec import UNENCODABLE, UNREADABLE, decode_body
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
    """A message that an upcaster made from an older one: its name, its version, and its body as a JSON object."""

    name: str
    version: int
    body: Mapping[str, Any] = field(repr=False)


UpcasterFunction: TypeAlias = Callable[[dict[str, Any]], Mapping[str, Any] | Sequence[Upcast] | None]


@dataclass(frozen=True, slots=True)
class Upcaster:
    """A declared upcaster: the version from which it starts, its function, and the versions `into` which it leads."""

    name: str
    from_version: int
    function: UpcasterFunction
    into: tuple[MessageVersion, ...]

    @property
    def place(self) -> str:
        """Module and name of the function, for messages."""
        return f"{self.function.__module__}.{self.function.__qualname__}"

    def apply(self, body: dict[str, Any]) -> Sequence[tuple[MessageVersion, dict[str, Any]]]:
        """Call the function. Raises `CodecError`, which contains no values, where it fails or returns a version that it
        did not declare.
        """
        try:
            result = self.function(body)
        except Exception as error:  # noqa: BLE001 - the text of any exception may contain values
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
        # Results may share parts of the old body, and the next upcasters may change them.
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
        self._by_version: dict[MessageVersion, Upcaster] = {}
        self._direct: dict[MessageVersion, Callable[[bytes], object]] = {}
        self._changes = types.changes

    def add(self, added: Upcaster) -> None:
        """Add an upcaster. Raises `DeclarationError` where another starts from the same version, or for a cycle."""
        start = (added.name, added.from_version)
        known = self._by_version.get(start)
        if known is not None and known.place != added.place:
            raise DeclarationError(
                f"two upcasters start from '{added.name}' version {added.from_version}:"
                f" {known.place} and {added.place}",
                hint="one version has one upcaster; it may return several Upcast(...)s",
            )
        if any(start in self._passed(target) for target in added.into):
            raise DeclarationError(
                f"{added.place} leads '{added.name}' version {added.from_version} back to itself",
                hint="an upcaster must lead to a later version, or to another message",
            )
        self._by_version[start] = added
        self._direct.clear()

    def __iter__(self) -> Iterator[Upcaster]:
        """Iterate over all declared upcasters."""
        return iter(tuple(self._by_version.values()))

    def find(self, name: str, version: int) -> Upcaster | None:
        """Return the upcaster that starts from a version; None where there is none."""
        return self._by_version.get((name, version))

    def ends(self, name: str, version: int, wanted: Collection[MessageVersion] = ()) -> frozenset[MessageVersion]:
        """Return the versions at which a message may end: wanted ones, and those from which no upcaster starts. Empty
        where it ends as no message.
        """
        return frozenset(
            each for each in self._passed((name, version), wanted) if each in wanted or each not in self._by_version
        )

    def unfold(
        self, name: str, version: int, body: bytes, wanted: Collection[MessageVersion] = ()
    ) -> list[tuple[MessageVersion, dict[str, Any]]]:
        """Apply upcasters until each result is wanted, or no upcaster starts from it. Results are in the order in which
        they were returned.

        Raises `CodecError` for a body that is not a JSON object, and as `Upcaster.apply` does.
        """
        try:
            return self._unfold((name, version), msgspec.json.decode(body), wanted)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise CodecError(f"the body of '{name}' version {version} is not JSON, or nested too deeply") from None

    def _unfold(
        self, start: MessageVersion, body: object, wanted: Collection[MessageVersion]
    ) -> list[tuple[MessageVersion, dict[str, Any]]]:
        if not isinstance(body, dict):
            raise CodecError(f"the body of '{start[0]}' version {start[1]} is not a JSON object")
        made: list[tuple[MessageVersion, dict[str, Any]]] = []
        # Depth first, so that what was made from an earlier result comes before what was made from a later one.
        waiting: list[tuple[MessageVersion, dict[str, Any]]] = [(start, body)]
        while waiting:
            version, each = waiting.pop()
            following = None if version in wanted else self._by_version.get(version)
            if following is None:
                made.append((version, each))
            else:
                waiting.extend(reversed(following.apply(each)))
        return made

    def read(self, name: str, version: int, body: bytes) -> tuple[object, ...]:
        """Return what `read_event` does."""
        if self._changes == self._types.changes:
            decode = self._direct.get((name, version))
            if decode is not None:
                try:
                    return (decode(body),)
                except UNREADABLE:
                    return (decode_body(body, self._types.find(name, version)),)  # raises an error with the path
        return self._read_uncached(name, version, body)

    def _read_uncached(self, name: str, version: int, body: bytes) -> tuple[object, ...]:
        if self._changes != self._types.changes:
            self._direct.clear()
            self._changes = self._types.changes
        if (name, version) not in self._by_version:
            found = self._types.find(name, version)
            self._direct[name, version] = msgspec.json.Decoder(found.cls).decode
            return (decode_body(body, found),)
        return tuple(decode_upcast(each, self._types.find(*place)) for place, each in self.unfold(name, version, body))

    def check(self) -> None:
        """Raise `DeclarationError` for the first upcaster that leads to a version that is not declared."""
        for each in sorted(self, key=lambda upcaster: (upcaster.name, upcaster.from_version)):
            for name, version in sorted(self.ends(each.name, each.from_version)):
                try:
                    self._types.find(name, version)
                except UnknownMessage as error:
                    raise DeclarationError(
                        f"{each.place} leads '{each.name}' version {each.from_version} to '{name}' version {version},"
                        " which is neither declared nor upcast",
                        hint=f'declare @event("{name}", version={version}), or an upcaster from this version',
                    ) from error

    def _passed(self, start: MessageVersion, wanted: Collection[MessageVersion] = ()) -> set[MessageVersion]:
        """All versions that a message may pass through, including its start and its ends."""
        passed: set[MessageVersion] = set()
        waiting = [start]
        while waiting:
            version = waiting.pop()
            if version in passed:
                continue
            passed.add(version)
            following = None if version in wanted else self._by_version.get(version)
            if following is not None:
                waiting.extend(following.into)
        return passed


upcasters: Final = Upcasters(registry)
"""The upcasters of this process."""


def upcaster(
    name: str, *, from_version: int, into: Iterable[type[Any] | MessageVersion] | None = None
) -> Callable[[F], F]:
    """Declare a pure function that turns a message of one version into the next version, or into other messages.

    It gets the body as a JSON object (a dict, which it may change). It returns the body of the next version, None where
    the message has no meaning any more, or a list of `Upcast`, which are read in this order. It must accept every body
    ever written in its version, and depend on nothing else: it runs at every read.

    into    what it may make, as declared classes or (name, version); needed unless it is the next version only. A
            returned dict is the body of the only one of them.
    """
    targets = ((name, from_version + 1),) if into is None else tuple(_version_of(each) for each in into)
    if from_version < 1:
        raise DeclarationError(f"'{name}': from_version must be 1 or more, not {from_version}")

    def decorate(function: F) -> F:
        if inspect.iscoroutinefunction(function):
            raise DeclarationError(f"{function.__qualname__} must be a plain function: an upcaster cannot be async")
        upcasters.add(Upcaster(name, from_version, function, targets))
        return function

    return decorate


def read_event(name: str, version: int, body: bytes) -> tuple[object, ...]:
    """Return a stored or delivered message in the versions declared today: instances of declared classes.

    A declared version that no upcaster starts from is decoded directly into its class: one instance. For any other
    version the upcasters are applied, one after the other, until none starts from the result. This mostly gives one
    instance; none if an upcaster returned None; several if one returned a list. Several are in the order in which they
    were returned, those made from an earlier one before those from a later one. Readers process them in this order, as
    one unit, at the one position of the message. The same bytes give equal instances while the declarations are the
    same, since upcasters are pure. Unknown fields are ignored.

    Raises `UnknownMessage` where a version is neither declared nor upcast, and `CodecError` for a body that does not
    fit, or an upcaster that fails. Both name the version or the path, and contain no values.
    """
    return upcasters.read(name, version, body)


def check_upcasters() -> None:
    """Check that every upcaster leads to declared versions. Called after all modules are imported.

    Raises `DeclarationError`. Two upcasters from one version, and a cycle, are refused when they are declared.
    """
    upcasters.check()


def decode_upcast(body: Mapping[str, Any], declared: MessageType) -> Any:
    """Return the message of an upcast body, decoded by the same rules as a received one. Raises `CodecError`."""
    try:
        encoded = msgspec.json.encode(body)
    except UNENCODABLE as error:
        raise CodecError(
            f"the body that was upcast to '{declared.name}' version {declared.version} cannot be encoded as JSON:"
            f" {type(error).__name__}"
        ) from None
    return decode_body(encoded, declared)


def _version_of(target: type[Any] | MessageVersion) -> MessageVersion:
    if isinstance(target, tuple):
        return target
    declared = message_type(target)
    return declared.name, declared.version
