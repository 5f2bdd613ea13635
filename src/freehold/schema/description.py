"""Short descriptions of schemas for messages. Imports the standard library only."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

__all__ = ["described", "tag_of", "value_text"]

_VALUES_MAX: Final = 6


def described(schema: object, defs: Mapping[str, Any]) -> str:
    """Describe a schema: `text (uuid)`, `list of OrderLine`, `one of "a", "b"`, `integer or null`."""
    if not isinstance(schema, Mapping):
        return "nothing" if schema is False else "anything"
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        tag = tag_of(defs.get(name, {}))
        return f"{name} ({tag[0]} {tag[1]})" if tag else str(name)
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(described(each, defs) for each in schema["anyOf"]))
    if "enum" in schema or "const" in schema:
        values = schema.get("enum", [schema.get("const")])
        shown = ", ".join(value_text(each) for each in values[:_VALUES_MAX])
        return f"one of {shown}{', …' if len(values) > _VALUES_MAX else ''}"
    return _of_type(schema, defs)


def tag_of(schema: Mapping[str, Any]) -> tuple[str, str] | None:
    """The required field with one possible value that distinguishes the options of a union, and that value."""
    for name, part in schema.get("properties", {}).items():
        values = part.get("enum", [part["const"]] if "const" in part else []) if isinstance(part, Mapping) else []
        if len(values) == 1 and name in schema.get("required", ()):
            return name, value_text(values[0])
    return None


def value_text(value: object) -> str:
    """A declared value as JSON."""
    return json.dumps(value, ensure_ascii=False)


def _of_type(schema: Mapping[str, Any], defs: Mapping[str, Any]) -> str:
    match schema.get("type"):
        case "string":
            form = schema.get("format") or schema.get("contentEncoding")
            return f"text ({form})" if form else "text"
        case "array" if "prefixItems" in schema:
            return f"tuple of {', '.join(described(each, defs) for each in schema['prefixItems'])}"
        case "array":
            return f"{'set' if schema.get('uniqueItems') else 'list'} of {described(schema.get('items', {}), defs)}"
        case "object" if "properties" not in schema:
            return f"map of {described(schema.get('additionalProperties', {}), defs)}"
        case other:
            return str(schema.get("title") or other or "anything")
