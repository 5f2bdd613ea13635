"""Versioned schema changes, of Freehold's own tables and of a service's. Foundation of the ports: stdlib only.

Migrations are applied once, in order of their names, each in a transaction of its own together with its record in
`freehold_migration`. An applied migration must not change afterwards: its digest is checked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = ["Migration"]


@dataclass(frozen=True, slots=True)
class Migration:
    """One step. `statements` by dialect (`sqlite`, `postgresql`), or under `""` for all of them.

    `name` sorts the steps: `001-tables`. Each statement is one SQL statement.
    """

    name: str
    statements: Mapping[str, Sequence[str]]

    def for_dialect(self, dialect: str) -> Sequence[str]:
        """The statements for an engine. Raises `KeyError` if there are none for it."""
        if dialect in self.statements:
            return self.statements[dialect]
        return self.statements[""]

    def digest(self, dialect: str) -> str:
        """The hash of the statements, recorded to detect a later change."""
        return hashlib.sha256("\x00".join(self.for_dialect(dialect)).encode()).hexdigest()
