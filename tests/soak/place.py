"""Small file systems of a run's own, or why there are none.

A small file system is a tmpfs, mounted in a mount namespace of the run's own (`unshare`): nothing of it stays, and the
machine's mounts are not touched. Imports the standard library.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

__all__ = ["enter_namespace", "mount_small", "unmount", "why_no_small_disks"]

_INSIDE: Final = "SOAK_IN_NAMESPACE"
_REASON: Final = "SOAK_NO_NAMESPACE"
_PROBE: Final = "from tests.soak.place import mount_small; import pathlib; mount_small(pathlib.Path('/mnt'), 1)"
_PROBE_SECONDS: Final = 30.0
_WHEN_UNUSED: Final = 2
"""MNT_DETACH."""


def why_no_small_disks() -> str:
    """Why no small file system can be mounted, once `enter_namespace` was called; empty if it can."""
    return "" if os.environ.get(_INSIDE) else os.environ.get(_REASON, "not in a mount namespace")


def enter_namespace(arguments: Sequence[str]) -> None:
    """Begin this program again in a mount namespace of its own, if that is permitted; else note the reason."""
    if os.environ.get(_INSIDE) or os.environ.get(_REASON):
        return
    # An account that is not root gets the right to mount in a user namespace, and stays itself there: PostgreSQL
    # refuses to run as root.
    private = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-Um", "--map-current-user", "--keep-caps"]
    try:
        probe = subprocess.run(
            [*private, sys.executable, "-c", _PROBE], check=False, capture_output=True, timeout=_PROBE_SECONDS
        )
        reason = probe.stderr.decode(errors="replace").strip().splitlines()[-1:] if probe.returncode else []
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = [str(error)]
    if reason:
        os.environ[_REASON] = f"no mount namespace: {reason[0]}"
        return
    os.environ[_INSIDE] = "1"
    command = [*private, sys.executable, "-m", "tests.soak", *arguments]
    os.execvp(command[0], command)


def mount_small(directory: Path, mebibytes: int) -> None:
    """Mount a tmpfs of this size there. Raises `OSError`."""
    libc = ctypes.CDLL(None, use_errno=True)
    options = f"size={mebibytes}m,mode=755".encode()
    if libc.mount(b"tmpfs", os.fsencode(directory), b"tmpfs", 0, options):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(directory))


def unmount(directory: Path) -> None:
    """Take a file system away again; it ends with its last open file."""
    ctypes.CDLL(None).umount2(os.fsencode(directory), _WHEN_UNUSED)
