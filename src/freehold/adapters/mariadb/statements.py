"""Statements as MariaDB takes them. Imports the standard library only.

Stores and users write `$1` and plain names. asyncmy takes `%(p1)s`; `key` and `partition` are reserved words, so in a
statement about Freehold's own tables these two names are quoted. A tuple is the right side of IN.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final

__all__ = ["joined", "quoted_names", "rendered"]

_OURS: Final = re.compile(r"\bfreehold_\w+")
_TOKEN: Final = re.compile(
    r"""(?P<skip>'(?:[^'\\]|''|\\.)*'|`[^`]*`|--[^\n]*)|\$(?P<number>\d+)|\b(?P<name>key|partition)\b|(?P<percent>%)""",
    re.DOTALL,
)


def rendered(sql: str, parameters: Sequence[object]) -> tuple[str, Mapping[str, object] | None]:
    """The text and the named values that asyncmy takes; without parameters the text is taken as it is."""
    return joined(sql, parameters) if parameters else (quoted_names(sql), None)


def joined(sql: str, parameters: Sequence[object]) -> tuple[str, Mapping[str, object]]:
    """The same for SQLAlchemy, which has asyncmy put parameters in also where there are none."""
    values = {f"p{number}": value for number, value in enumerate(parameters, 1)}
    if not any(isinstance(value, tuple) for value in parameters):
        return _prepared(sql), values
    lists = {name: value for name, value in values.items() if isinstance(value, tuple)}
    text = _prepared(sql)
    for name, items in lists.items():
        del values[name]
        values.update({f"{name}_{place}": item for place, item in enumerate(items)})
        text = text.replace(f"%({name})s", f"({', '.join(f'%({name}_{place})s' for place in range(len(items)))})")
    return text, values


@lru_cache(maxsize=1024)
def quoted_names(sql: str) -> str:
    """The text with reserved names in quotes, where it is about Freehold's tables."""
    return _TOKEN.sub(_quote, sql) if _OURS.search(sql) else sql


@lru_cache(maxsize=1024)
def _prepared(sql: str) -> str:
    ours = _OURS.search(sql) is not None

    def replaced(found: re.Match[str]) -> str:
        if found["number"]:
            return f"%(p{found['number']})s"
        if found["name"] and ours:
            return f"`{found['name']}`"
        return found[0].replace("%", "%%")

    return _TOKEN.sub(replaced, sql)


def _quote(found: re.Match[str]) -> str:
    return f"`{found['name']}`" if found["name"] else found[0]
