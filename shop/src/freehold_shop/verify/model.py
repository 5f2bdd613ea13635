"""What a verification finds. Imports the standard library only."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Check", "Verification"]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that has to hold. `detail` says what was compared, and where it fails, the first ids that are off."""

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
        """The verification that these checks make. Without any, nothing was proven, and it is not ok."""
        return cls(ok=bool(checks) and all(check.ok for check in checks), checks=checks)
