"""The source of an earlier commit, taken from git into a directory, so that it can be measured beside today's. Imports
the standard library only.
"""

from __future__ import annotations

import subprocess
import tarfile
from io import BytesIO
from pathlib import Path

__all__ = ["CommitMissing", "source_of"]


class CommitMissing(Exception):
    """The commit is not in the history that this checkout has."""


def source_of(revision: str, root: Path, directory: Path) -> Path:
    """Write `src` and `shop/src` of a commit into the directory; returns it. Raises `CommitMissing`."""
    done = subprocess.run(
        ["git", "archive", "--format=tar", revision, "--", "src", "shop/src"],
        cwd=root,
        capture_output=True,
        check=False,
    )
    if done.returncode:
        raise CommitMissing(done.stderr.decode().strip())
    with tarfile.open(fileobj=BytesIO(done.stdout)) as archive:
        archive.extractall(directory, filter="data")
    return directory
