"""Compares the limits of a writer's and a reader's schema for one JSON type. Pure functions.

Each function returns a pair of texts (what is written, what is read) for each limit of the reader that the writer does
not keep.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

__all__ = ["array_limits", "number_limits", "object_limits", "text_limits"]

Limits = list[tuple[str, str]]


def number_limits(writer: Mapping[str, Any], reader: Mapping[str, Any]) -> Limits:
    """Compare bounds, and `multipleOf`."""
    found = []
    for lower in (True, False):
        written, read = _bound(writer, lower=lower), _bound(reader, lower=lower)
        if read is not None and (written is None or _beyond(written, read, lower=lower)):
            found.append((_bound_text(written, lower=lower), _bound_text(read, lower=lower)))
    step, given = reader.get("multipleOf"), writer.get("multipleOf")
    if step is not None and not _keeps_step(writer, given, step):
        found.append((f"multiples of {given}" if given else "any number", f"multiples of {step}"))
    return found


def text_limits(writer: Mapping[str, Any], reader: Mapping[str, Any]) -> Limits:
    """Compare lengths and patterns. Another pattern counts as stricter, because patterns cannot be compared."""
    found = _counts(writer, reader, "minLength", "maxLength", "characters")
    pattern = reader.get("pattern")
    if pattern is not None and pattern != writer.get("pattern"):
        value = writer.get("value")
        if value is None or re.search(pattern, value) is None:
            written = writer.get("pattern")
            found.append((f"pattern {written}" if written else "any text", f"pattern {pattern}"))
    return found


def array_limits(writer: Mapping[str, Any], reader: Mapping[str, Any]) -> Limits:
    """Compare lengths, and whether items must be unique."""
    found = _counts(writer, reader, "minItems", "maxItems", "items")
    if reader.get("uniqueItems") and not writer.get("uniqueItems") and writer.get("maxItems", 2) > 1:
        found.append(("items that may repeat", "items that all differ"))
    return found


def object_limits(writer: Mapping[str, Any], reader: Mapping[str, Any]) -> Limits:
    """Compare the numbers of fields of a map; for a class the declared fields count."""
    if "properties" in writer:
        count = {"minProperties": len(writer.get("required", ())), "maxProperties": len(writer["properties"])}
        writer = {**writer, **count}
    return _counts(writer, reader, "minProperties", "maxProperties", "fields")


def _counts(writer: Mapping[str, Any], reader: Mapping[str, Any], least: str, most: str, unit: str) -> Limits:
    found = []
    if reader.get(least, 0) > writer.get(least, 0):
        found.append((f"{writer.get(least, 0)} {unit} or more", f"{reader[least]} {unit} or more"))
    if most in reader and (most not in writer or reader[most] < writer[most]):
        written = f"{writer[most]} {unit} or fewer" if most in writer else f"any number of {unit}"
        found.append((written, f"{reader[most]} {unit} or fewer"))
    return found


def _bound(schema: Mapping[str, Any], *, lower: bool) -> tuple[float, bool] | None:
    """The bound, and whether it is exclusive; for integers it is always converted to an inclusive one."""
    inclusive = schema.get("minimum" if lower else "maximum")
    exclusive = schema.get("exclusiveMinimum" if lower else "exclusiveMaximum")
    if exclusive is not None and schema.get("type") == "integer":
        inclusive, exclusive = exclusive + (1 if lower else -1), None
    if exclusive is not None:
        return exclusive, True
    return None if inclusive is None else (inclusive, False)


def _beyond(written: tuple[float, bool], read: tuple[float, bool], *, lower: bool) -> bool:
    """Whether the writer's bound is wider than the reader's."""
    if written[0] != read[0]:
        return written[0] < read[0] if lower else written[0] > read[0]
    return read[1] and not written[1]


def _keeps_step(writer: Mapping[str, Any], given: float | None, step: float) -> bool:
    value = writer.get("value", given)
    return value is not None and value % step == 0


def _bound_text(bound: tuple[float, bool] | None, *, lower: bool) -> str:
    if bound is None:
        return "any number"
    value, outside = bound
    if outside:
        return f"more than {value}" if lower else f"less than {value}"
    return f"{value} or more" if lower else f"{value} or less"
