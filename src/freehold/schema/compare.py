"""Compares a writer's and a reader's JSON Schema, as `jsonschema` makes them. Pure functions.

A difference is a place where the writer may write a value that the reader refuses. A missing field with a default is
accepted; unknown fields are ignored unless the reader forbids them. A missing field that the reader takes for another
value is a difference, too, although nothing is refused. Where the comparison is not sure (a changed pattern), a
difference is reported.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, TypeAlias

from freehold.schema.bounds import array_limits, number_limits, object_limits, text_limits
from freehold.schema.description import described, tag_of, value_text

__all__ = ["Change", "Difference", "differences"]

Part: TypeAlias = Mapping[str, Any] | bool


class Change(StrEnum):
    """The kinds of differences."""

    REQUIRED = "required"
    TYPE = "type"
    VALUE = "value"
    LIMIT = "limit"
    DEFAULT = "default"
    UNKNOWN_FIELD = "unknown-field"


@dataclass(frozen=True, slots=True)
class Difference:
    """A place where the reader refuses a value of the writer, or reads another value; with texts for what is written
    and what is read.
    """

    path: str
    change: Change
    written: str
    read: str


def differences(writer: Mapping[str, Any], reader: Mapping[str, Any]) -> list[Difference]:
    """Return the differences; none where the reader accepts all that the writer may write."""
    return _Comparison(writer.get("$defs", {}), reader.get("$defs", {})).compare(writer, reader, "$")


_ASSERTING: Final = frozenset({"$ref", "anyOf", "enum", "const", "type"})
_ANYTHING: Final[Mapping[str, Any]] = {}
_IMPLIED: Final[Mapping[object, list[Any]]] = {"null": [None], "boolean": [False, True]}
"""All values of the types that have only a few."""
_FORMATS_TAKEN: Final[Mapping[str, frozenset[str]]] = {
    "iso-date-time": frozenset({"date-time", "local-date-time"}),
    "iso-time": frozenset({"time", "partial-time"}),
}
"""The other formats that a format accepts."""


class _Comparison:
    """One comparison. It keeps the pairs of parts that it is inside of, because schemas may be recursive."""

    def __init__(self, writer_defs: Mapping[str, Any], reader_defs: Mapping[str, Any]) -> None:
        self._writer_defs = writer_defs
        self._reader_defs = reader_defs
        self._inside: set[tuple[int, int]] = set()

    def compare(self, writer: Part, reader: Part, path: str) -> list[Difference]:
        """Compare two parts: each option of the writer with all options of the reader."""
        options = _options(reader, self._reader_defs)
        if any(not _ASSERTING & option.keys() for option in options):
            return []
        written = _options(writer, self._writer_defs)
        found = [each for option in written for each in self._best(option, options, path, reader)]
        whole = self._difference(path, Change.TYPE, writer, reader)
        # For a union the whole type is reported, not the one option that does not fit.
        return list(dict.fromkeys(whole if (each.path, each.change) == (path, Change.TYPE) else each for each in found))

    def _best(
        self, writer: Mapping[str, Any], options: list[Mapping[str, Any]], path: str, whole: Part
    ) -> list[Difference]:
        """Compare with every option of the reader: one that accepts it is enough; else the nearest one is reported."""
        values = _values(writer)
        if values is not None and len(options) > 1:
            refused = [value_text(each) for each in values if not self._some_takes(options, each, path)]
            read = described(whole, self._reader_defs)
            return [Difference(path, Change.VALUE, ", ".join(refused), read)] if refused else []
        tried = [self._single(writer, option, path) for option in options]
        if not all(tried):
            return []
        near = [
            each for each, option in zip(tried, options, strict=True) if len(options) == 1 or _alike(writer, option)
        ]
        if not near:
            return [self._difference(path, Change.TYPE, writer, whole)]
        return min(near, key=len)

    def _single(self, writer: Mapping[str, Any], reader: Mapping[str, Any], path: str) -> list[Difference]:
        written, read = _values(writer), _values(reader)
        if written is None and read is not None:
            written = _IMPLIED.get(writer.get("type"))
        if written is not None:
            return self._enumerated(written, read, reader, path)
        if read is not None:
            return [self._difference(path, Change.VALUE, writer, reader)]
        if not _type_fits(writer.get("type"), reader.get("type")):
            return [self._difference(path, Change.TYPE, writer, reader)]
        return self._within(writer, reader, path)

    def _within(self, writer: Mapping[str, Any], reader: Mapping[str, Any], path: str) -> list[Difference]:
        """Compare two parts of the same JSON type. A pair that is being compared further out is reported there."""
        match reader.get("type"):
            case "string":
                return self._text(writer, reader, path)
            case "integer" | "number":
                return _limits(number_limits(writer, reader), path)
            case kind:
                pair = (id(writer), id(reader))
                if pair in self._inside:
                    return []
                self._inside.add(pair)
                try:
                    return (self._array if kind == "array" else self._object)(writer, reader, path)
                finally:
                    self._inside.discard(pair)

    def _enumerated(
        self, written: list[Any], read: list[Any] | None, reader: Mapping[str, Any], path: str
    ) -> list[Difference]:
        if read is not None:
            known = {value_text(each) for each in read}
            refused = [value_text(each) for each in written if value_text(each) not in known]
        else:
            refused = [value_text(each) for each in written if not self._takes(reader, each, path)]
        if not refused:
            return []
        return [Difference(path, Change.VALUE, ", ".join(refused), described(reader, self._reader_defs))]

    def _some_takes(self, options: list[Mapping[str, Any]], value: object, path: str) -> bool:
        return any(self._single({"enum": [value]}, option, path) == [] for option in options)

    def _takes(self, reader: Mapping[str, Any], value: object, path: str) -> bool:
        return self._single(_schema_of(value), reader, path) == []

    def _text(self, writer: Mapping[str, Any], reader: Mapping[str, Any], path: str) -> list[Difference]:
        for keyword in ("format", "contentEncoding"):
            written, read = writer.get(keyword), reader.get(keyword)
            if read is not None and read != written and written not in _FORMATS_TAKEN.get(read, ()):
                return [self._difference(path, Change.TYPE, writer, reader)]
        return _limits(text_limits(writer, reader), path)

    def _array(self, writer: Mapping[str, Any], reader: Mapping[str, Any], path: str) -> list[Difference]:
        found = _limits(array_limits(writer, reader), path)
        longest = writer.get("maxItems")
        fixed = max(len(writer.get("prefixItems", ())), len(reader.get("prefixItems", ())))
        for number in range(fixed if longest is None else min(fixed, longest)):
            found += self._item(_item(writer, number), _item(reader, number), f"{path}[{number}]")
        if longest is None or longest > fixed:
            found += self._item(writer.get("items", {}), reader.get("items", {}), f"{path}[]")
        return found

    def _item(self, writer: Part, reader: Part, path: str) -> list[Difference]:
        if writer is False:
            return []
        if reader is False:
            return [self._difference(path, Change.LIMIT, writer, reader)]
        return self.compare(writer, reader, path)

    def _object(self, writer: Mapping[str, Any], reader: Mapping[str, Any], path: str) -> list[Difference]:
        found = _limits(object_limits(writer, reader), path)
        written: Mapping[str, Any] = writer.get("properties", {})
        read: Mapping[str, Any] = reader.get("properties", {})
        # A class writes only its own fields; a map may write any.
        others: Part = False if "properties" in writer else writer.get("additionalProperties", {})
        for name in reader.get("required", ()):
            if name not in writer.get("required", ()):
                state = "not always written" if name in written else "not written"
                found.append(Difference(f"{path}.{name}", Change.REQUIRED, state, "required"))
        for name, part in read.items():
            found += self._item(written.get(name, others), part, f"{path}.{name}")
            if name in written and name not in writer.get("required", ()):
                found += _defaults(written[name], part, f"{path}.{name}")
        rest: Part = reader.get("additionalProperties", {})
        for name in written.keys() - read.keys():
            found += self._other(name, written[name], rest, path)
        if others is not False and "properties" not in reader:
            found += self._item(others, rest, f"{path}.*")
        if "propertyNames" in reader:
            found += self._names(writer, reader, path)
        return sorted(found, key=lambda each: each.path) if len(found) > 1 else found

    def _other(self, name: str, written: Part, rest: Part, path: str) -> list[Difference]:
        if rest is False:
            new = described(written, self._writer_defs)
            return [Difference(f"{path}.{name}", Change.UNKNOWN_FIELD, new, "no unknown fields")]
        return self.compare(written, rest, f"{path}.{name}")

    def _names(self, writer: Mapping[str, Any], reader: Mapping[str, Any], path: str) -> list[Difference]:
        fixed = writer.get("properties")
        names = {"enum": list(fixed)} if fixed is not None else {"type": "string", **writer.get("propertyNames", {})}
        return self.compare(names, {"type": "string", **reader["propertyNames"]}, f"{path}.*")

    def _difference(self, path: str, change: Change, writer: Part, reader: Part) -> Difference:
        return Difference(path, change, described(writer, self._writer_defs), described(reader, self._reader_defs))


def _defaults(writer: Part, reader: Part, path: str) -> list[Difference]:
    """The difference between the default that a writer meant by a missing field, and the reader's default."""
    if isinstance(writer, bool) or isinstance(reader, bool) or "default" not in writer or "default" not in reader:
        return []
    written, read = (f"{value_text(each['default'])} where it is missing" for each in (writer, reader))
    return [] if written == read else [Difference(path, Change.DEFAULT, written, read)]


def _limits(changed: list[tuple[str, str]], path: str) -> list[Difference]:
    return [Difference(path, Change.LIMIT, written, read) for written, read in changed]


def _options(part: Part, defs: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The alternatives of a part, with references resolved: of nested unions, and of a list of types."""
    if isinstance(part, bool):
        return [_ANYTHING] if part else []
    if "$ref" in part:
        return _options(defs[part["$ref"].rpartition("/")[2]], defs)
    for keyword in ("anyOf", "oneOf"):
        if keyword in part:
            return [option for each in part[keyword] for option in _options(each, defs)]
    if isinstance(part.get("type"), list):
        return [{**part, "type": each} for each in part["type"]]
    return [part]


def _values(schema: Mapping[str, Any]) -> list[Any] | None:
    """The values that a schema lists; None where it lists none."""
    if "const" in schema:
        return [schema["const"]]
    if "enum" in schema:
        return list(schema["enum"])
    return None


def _schema_of(value: object) -> Mapping[str, Any]:
    """The narrowest schema of a value."""
    if isinstance(value, str):
        return {"type": "string", "minLength": len(value), "maxLength": len(value), "value": value}
    if value is None or isinstance(value, bool):
        return {"type": "null" if value is None else "boolean"}
    kind = "integer" if isinstance(value, int) else "number"
    return {"type": kind, "minimum": value, "maximum": value, "value": value}


def _type_fits(written: object, read: object) -> bool:
    return written == read or (written == "integer" and read == "number")


def _alike(writer: Mapping[str, Any], reader: Mapping[str, Any]) -> bool:
    """Whether the two are probably the same option: the same JSON type, and the same tag, where they have one."""
    types = [_json_type(each) for each in (writer, reader)]
    if types[0] != types[1] and set(types) != {"integer", "number"}:
        return False
    return types[0] != "object" or tag_of(writer) == tag_of(reader)


def _json_type(schema: Mapping[str, Any]) -> object:
    values = _values(schema)
    if values and "type" not in schema:
        return _schema_of(values[0]).get("type")
    return schema.get("type")


def _item(schema: Mapping[str, Any], number: int) -> Part:
    prefix = schema.get("prefixItems", ())
    found: Part = prefix[number] if number < len(prefix) else schema.get("items", {})
    return found
