"""The source of an earlier commit, taken from git into a directory, so that it can be measured beside today's. Imports
the standard library only.
"""

from __future__ import annotations

import shutil
import subprocess
import tarfile
from io import BytesIO
from pathlib import Path
from typing import Final

__all__ = ["CommitMissing", "source_of"]

_PROXY: Final = Path("src/freehold/testing/network")
"""What counts round trips. It imports nothing else, and a commit from before it has none."""


class CommitMissing(Exception):
    """The commit is not in the history that this checkout has."""


def source_of(revision: str, root: Path, directory: Path) -> Path:
    """Write `src` and `shop/src` of a commit into the directory; returns it. Raises `CommitMissing`.

    The proxy that counts round trips is today's for every commit.
    """
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
    shutil.copytree(root / _PROXY, directory / _PROXY, dirs_exist_ok=True)
    return directory
