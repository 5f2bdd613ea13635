"""The result of a verification. Imports the standard library only."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Check", "Verification"]


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check. `detail` says what was compared and, where it fails, the first ids that differ."""

    name: str
    ok: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Verification:
    """All checks; `ok` where every one of them holds."""

    ok: bool
    checks: tuple[Check, ...]

    @classmethod
    def of(cls, checks: tuple[Check, ...]) -> Verification:
        """The verification with these checks. Without any it is not ok, since it proves nothing."""
        return cls(ok=bool(checks) and all(check.ok for check in checks), checks=checks)
