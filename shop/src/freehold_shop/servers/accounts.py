"""The account that a server runs as, and directories that this account can reach. May import the standard library.

PostgreSQL refuses to run as root. For root it runs as `postgres` or `nobody`, which cannot enter a directory below one
that only root may enter (a clone in root's home): data and binaries are then in a directory of their own.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import stat
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from freehold_shop.servers.process import ServerUnavailable

__all__ = ["Account", "own", "reachable_copy", "reachable_directory", "unprivileged_account"]

_FALLBACK_ROOT = Path("/var/tmp")  # noqa: S108 - the owner of every directory in it is checked before it is used


@dataclass(frozen=True, slots=True)
class Account:
    """A user of this machine. `switch`: a child must change to it."""

    uid: int
    gid: int
    switch: bool


def unprivileged_account() -> Account:
    """Return the account of a server that refuses root: our own, or for root that of `postgres` or `nobody`."""
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid(), switch=False)
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_uid, entry.pw_gid, switch=True)
    raise ServerUnavailable("no account for PostgreSQL, which refuses root", hint="adduser --system postgres")


def own(path: Path, account: Account, mode: int) -> None:
    """Give `path` to the account with these permissions."""
    path.chmod(mode)
    if account.switch:
        os.chown(path, account.uid, account.gid)


def reachable_directory(wanted: Path, account: Account) -> Path:
    """Make a directory that the account can enter, and return its path.

    It is `wanted` itself, or a directory whose name is derived from it, so that a later start finds it again.
    """
    wanted.mkdir(parents=True, exist_ok=True)
    if _can_enter(wanted.parent, account):
        own(wanted, account, 0o700)
        return wanted
    digest = hashlib.sha256(os.fsencode(wanted.resolve())).hexdigest()[:16]
    place = _FALLBACK_ROOT / f"freehold-{os.getuid()}-{digest}"
    _make_private(place, account)
    return place


def reachable_copy(trees: Sequence[Path], account: Account) -> Path:
    """Return the directory of `trees`, or one with copies that the account can enter.

    The trees are in one directory and find each other by relative paths. A copy is made once for each version.
    """
    if all(_can_enter(tree, account) for tree in trees):
        return trees[0].parent
    version = "".join(f"{tree.resolve()}:{tree.stat().st_mtime_ns}" for tree in trees)
    digest = hashlib.sha256(version.encode()).hexdigest()[:16]
    place = _FALLBACK_ROOT / f"freehold-{os.getuid()}-binaries-{digest}"
    _make_private(place, Account(os.getuid(), os.getgid(), switch=False), mode=0o755)
    copies = place / "complete"
    if not copies.exists():
        partial = Path(tempfile.mkdtemp(dir=place))
        partial.chmod(0o755)
        for tree in trees:
            shutil.copytree(tree, partial / tree.name, ignore=shutil.ignore_patterns("include", "__pycache__"))
        try:
            partial.rename(copies)
        except OSError:
            # Another process has made the same copy.
            shutil.rmtree(partial)
    return copies


def _make_private(place: Path, account: Account, mode: int = 0o700) -> None:
    place.mkdir(mode=mode, exist_ok=True)
    found = place.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in {os.getuid(), account.uid}:
        raise ServerUnavailable(f"{place} belongs to another user", hint="remove it, or choose another directory")
    own(place, account, mode)


def _can_enter(directory: Path, account: Account) -> bool:
    if not account.switch:
        return True
    return all(_may_search(part.stat(), account) for part in (directory.resolve(), *directory.resolve().parents))


def _may_search(found: os.stat_result, account: Account) -> bool:
    if found.st_uid == account.uid:
        return bool(found.st_mode & stat.S_IXUSR)
    if found.st_gid == account.gid:
        return bool(found.st_mode & stat.S_IXGRP)
    return bool(found.st_mode & stat.S_IXOTH)
