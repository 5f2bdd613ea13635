"""Generated passwords in a file that only its owner can read. Foundation: standard library and the errors."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from freehold.errors import ConfigurationError

__all__ = ["keep_passwords", "write_private"]

_PRIVATE: Final = 0o600
_BYTES: Final = 24


def keep_passwords(path: Path, names: Iterable[str]) -> Mapping[str, str]:
    """The passwords in a file, by name; for names without one a password is generated and added. Passwords consist of
    letters, digits, `-` and `_`.

    Raises `ConfigurationError` if the file contains something else.
    """
    known = _read(path)
    missing = [name for name in names if name not in known]
    if missing:
        known |= {name: secrets.token_urlsafe(_BYTES) for name in missing}
        write_private(path, json.dumps(known))
    return known


def write_private(path: Path, text: str) -> None:
    """Write a file of mode 0600, whole or not at all; it is at no time readable by others."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)
    fresh.touch(mode=_PRIVATE, exist_ok=False)
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(path)


def _read(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        known = None
    if not isinstance(known, dict) or not all(isinstance(each, str) and each for each in known.values()):
        raise ConfigurationError(
            f"{path} does not hold passwords by name", hint="restore it, or remove it to have new passwords made"
        )
    return known
