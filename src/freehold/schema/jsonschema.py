"""JSON Schema (2020-12) of declared messages. Imports msgspec and the messages.

msgspec makes the schema. Two parts that it leaves out are added here, because their change breaks readers, too: the
formats of dates and times without a zone, and the form of a map's keys.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

import msgspec
from msgspec import inspect

from freehold.errors import DeclarationError
from freehold.messages import MessageType

__all__ = ["DIALECT", "Schema", "message_schema", "schemas_of"]

Schema: TypeAlias = dict[str, Any]

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_LOCAL: Final = "#/$defs/{name}"
_DATE_TIMES: Final[Mapping[bool | None, str]] = {None: "iso-date-time", False: "local-date-time", True: "date-time"}
_TIMES: Final[Mapping[bool | None, str]] = {None: "iso-time", False: "partial-time", True: "time"}
_KEY_FORMATS: Final[Mapping[type[inspect.Type], str]] = {
    inspect.FloatType: "number",
    inspect.UUIDType: "uuid",
    inspect.DecimalType: "decimal",
    inspect.DateType: "date",
    inspect.TimeDeltaType: "duration",
}


def message_schema(declared: MessageType) -> Schema:
    """Return the complete schema of a message's body. Raises `DeclarationError` for a type without a JSON Schema."""
    (schema,), components = schemas_of([declared])
    return {"$schema": DIALECT, **schema, "$defs": components} if components else {"$schema": DIALECT, **schema}


def schemas_of(
    messages: Sequence[MessageType], ref_template: str = _LOCAL
) -> tuple[tuple[Schema, ...], dict[str, Schema]]:
    """Return the schema of each message's body, and the named schemas that they refer to. Raises `DeclarationError`."""
    classes = [each.cls for each in messages]
    try:
        schemas, components = msgspec.json.schema_components(classes, ref_template=ref_template)
        types = inspect.multi_type_info(classes)
    except (TypeError, NameError) as error:
        names = ", ".join(f"'{each.name}'" for each in messages)
        raise DeclarationError(f"there is no JSON Schema of {names}: {error}") from error
    completion = _Completion(components, ref_template.partition("{")[0])
    for schema, each in zip(schemas, types, strict=True):
        completion.complete(schema, each)
    return schemas, components


class _Completion:
    """Completes schemas from the types that they were made of."""

    def __init__(self, components: Mapping[str, Schema], prefix: str) -> None:
        self._components = components
        self._prefix = prefix
        self._done: set[str] = set()

    def complete(self, schema: Schema, declared: inspect.Type) -> None:
        """Add to a schema what only its type shows."""
        name = schema.get("$ref", "").removeprefix(self._prefix)
        if name in self._done:
            return
        if name:
            self._done.add(name)
            schema = self._components[name]
        match declared := _bare(declared):
            case inspect.DateTimeType() | inspect.TimeType():
                schema.setdefault("format", _moment(declared))
            case inspect.UnionType(types=types):
                self._union(schema, types)
            case inspect.TupleType(item_types=types):
                for part, each in zip(schema.get("prefixItems", ()), types, strict=True):
                    self.complete(part, each)
            case inspect.CollectionType(item_type=item) if "items" in schema:
                self.complete(schema["items"], item)
            case inspect.DictType(key_type=key, value_type=value):
                self._map(schema, key, value)
            case _:
                self._fields(schema, declared)

    def _union(self, schema: Schema, types: Sequence[inspect.Type]) -> None:
        """Complete the options of a union; msgspec puts those first that are neither structs nor null, in order."""
        plain = [each for each in types if not _is_struct_or_null(each)]
        structs = [each for each in types if isinstance(_bare(each), inspect.StructType)]
        options = schema.get("anyOf", [])
        for option, each in zip(options, plain, strict=False):
            self.complete(option, each)
        refs = {option["$ref"]: option for option in _nested(options) if "$ref" in option}
        for each in structs:
            bare = _bare(each)
            for ref, option in refs.items():
                known = self._components.get(ref.removeprefix(self._prefix), {})
                if isinstance(bare, inspect.StructType) and known.get("title") == bare.cls.__name__:
                    self.complete(option, each)

    def _map(self, schema: Schema, key: inspect.Type, value: inspect.Type) -> None:
        names = _key_schema(_bare(key))
        if names:
            schema.setdefault("propertyNames", names)
        if isinstance(schema.get("additionalProperties"), dict):
            self.complete(schema["additionalProperties"], value)

    def _fields(self, schema: Schema, declared: inspect.Type) -> None:
        fields: Sequence[inspect.Field] = getattr(declared, "fields", ())
        properties = schema.get("properties", {})
        places = schema.get("prefixItems", [])
        for number, field in enumerate(fields):
            part = properties.get(field.encode_name) if properties else places[number]
            self.complete(part, field.type)


def _bare(declared: inspect.Type) -> inspect.Type:
    while isinstance(declared, inspect.Metadata):
        declared = declared.type
    return declared


def _is_struct_or_null(declared: inspect.Type) -> bool:
    bare = _bare(declared)
    return isinstance(bare, inspect.NoneType) or (isinstance(bare, inspect.StructType) and not bare.array_like)


def _nested(options: Sequence[Schema]) -> list[Schema]:
    return [each for option in options for each in (_nested(option["anyOf"]) if "anyOf" in option else [option])]


def _moment(declared: inspect.DateTimeType | inspect.TimeType) -> str:
    """A format that distinguishes zoned and local times; the formats of RFC 3339 are zoned."""
    return (_DATE_TIMES if isinstance(declared, inspect.DateTimeType) else _TIMES)[declared.tz]


def _key_schema(key: inspect.Type) -> Schema:
    """The schema of a map's keys, which are texts in JSON; empty for plain texts, which msgspec describes itself."""
    match key:
        case inspect.IntType():
            return {"pattern": "^-?[0-9]+$"}
        case inspect.DateTimeType() | inspect.TimeType():
            return {"format": _moment(key)}
        case inspect.EnumType(cls=cls):
            return {"enum": sorted(str(each.value) for each in cls)}
        case inspect.LiteralType(values=values):
            return {"enum": sorted(map(str, values))}
        case _:
            return {"format": _KEY_FORMATS[type(key)]} if type(key) in _KEY_FORMATS else {}
