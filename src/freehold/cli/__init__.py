"""The `freehold` command line, and a toolkit for commands of projects and of their own patterns.

`run_command_line` runs a click command and returns its exit code; `LazyGroup` imports commands when they are called. An
`asynchronous` command gets the `Project`, which opens the databases of services. Options and output are the same as in
Freehold's own commands. A name is imported when it is first used, so that help is shown at once.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from freehold.cli.entry import FAILED, INTERRUPTED, UNREACHABLE, USAGE, run_command_line
    from freehold.cli.lazy import Lazy, LazyGroup, NamingGroup
    from freehold.cli.options import (
        COUNT,
        POSITION,
        SINCE,
        FiniteRange,
        Since,
        StoredRange,
        actor,
        asynchronous,
        confirm_option,
        json_option,
        limit_option,
        reason_option,
        seconds,
        service_option,
    )
    from freehold.cli.output import answer_json, line, note, table
    from freehold.cli.project import Project
    from freehold.cli.services import OpenedServices, ServiceAccess

__all__ = [
    "COUNT",
    "FAILED",
    "INTERRUPTED",
    "POSITION",
    "SINCE",
    "UNREACHABLE",
    "USAGE",
    "FiniteRange",
    "Lazy",
    "LazyGroup",
    "NamingGroup",
    "OpenedServices",
    "Project",
    "ServiceAccess",
    "Since",
    "StoredRange",
    "actor",
    "answer_json",
    "asynchronous",
    "confirm_option",
    "json_option",
    "limit_option",
    "line",
    "note",
    "reason_option",
    "run_command_line",
    "seconds",
    "service_option",
    "table",
]

_HOMES: Final = {
    "entry": ("FAILED", "INTERRUPTED", "UNREACHABLE", "USAGE", "run_command_line"),
    "lazy": ("Lazy", "LazyGroup", "NamingGroup"),
    "output": ("answer_json", "line", "note", "table"),
    "project": ("Project",),
    "services": ("OpenedServices", "ServiceAccess"),
}
_HOME_OF: Final = {name: module for module, names in _HOMES.items() for name in names}

if not TYPE_CHECKING:
    # Hidden from the type checker, which would otherwise believe that every name exists.

    def __getattr__(name: str) -> object:
        """Import a public name from its home."""
        if name not in __all__:
            raise AttributeError(f"module 'freehold.cli' has no attribute '{name}'")
        value = getattr(import_module(f"freehold.cli.{_HOME_OF.get(name, 'options')}"), name)
        globals()[name] = value
        return value
