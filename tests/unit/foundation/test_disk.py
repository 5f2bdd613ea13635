"""When a disk is full, when it is low, and what is said of it."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from freehold.disk import FULL_BYTES, LOW_BYTES, Room, check_free_space, require_writable, room_at
from freehold.errors import Unavailable

GB = 1024**3
BLOCK_BYTES = 4096


@pytest.mark.parametrize(
    ("free", "total", "full", "low"),
    [
        (FULL_BYTES - 1, 100 * GB, True, True),
        (FULL_BYTES, 100 * GB, False, True),
        (LOW_BYTES - 1, 100 * GB, False, True),
        (LOW_BYTES, 100 * GB, False, False),
        # A twentieth of a small disk; of a tiny one, what is full.
        (GB // 20 - 1, GB, False, True),
        (GB // 20, GB, False, False),
        (FULL_BYTES, 8 * FULL_BYTES, False, False),
    ],
)
def test_limits(free: int, total: int, *, full: bool, low: bool) -> None:
    room = Room(free, total)
    assert (room.full, room.low) == (full, low)


@pytest.mark.parametrize(("user", "free_blocks"), [(0, 200), (1000, 100)])
def test_what_is_kept_for_root_is_free_for_root_only(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, user: int, free_blocks: int
) -> None:
    _disk(monkeypatch, free=200, available=100, total=1000)
    monkeypatch.setattr(os, "geteuid", lambda: user)
    assert room_at(tmp_path / "a.db") == Room(free_blocks * BLOCK_BYTES, 1000 * BLOCK_BYTES)


@pytest.mark.parametrize(
    ("free_blocks", "ok", "detail"),
    [
        (262_144 * 2, True, "2.0 GB of 10.0 GB are free"),
        (65_535, False, "256.0 MB of 10.0 GB are free"),
        (10, False, "40.0 kB of 10.0 GB are free"),
        (0, False, "0 bytes of 10.0 GB are free"),
    ],
)
def test_a_disk_that_is_low_is_a_finding(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, free_blocks: int, *, ok: bool, detail: str
) -> None:
    _disk(monkeypatch, free=free_blocks, available=free_blocks, total=2_621_440)
    found = check_free_space("disk", tmp_path / "a.db")
    assert (found.subject, found.ok, found.detail) == ("disk", ok, detail)
    assert found.fix == ("" if ok else "make room on the disk")


def test_a_disk_that_is_full_takes_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _disk(monkeypatch, free=256, available=256, total=2_621_440)
    require_writable(tmp_path / "a.db")
    _disk(monkeypatch, free=255, available=255, total=2_621_440)
    with pytest.raises(Unavailable, match=r"the disk is full: 1020\.0 kB are left") as caught:
        require_writable(tmp_path / "a.db")
    assert caught.value.hint == "make room on the disk"


def test_a_system_that_does_not_tell_is_no_defect(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fails(_: Path) -> object:
        raise PermissionError

    monkeypatch.setattr(os, "statvfs", fails)
    require_writable(tmp_path / "a.db")
    found = check_free_space("disk", tmp_path / "a.db")
    assert (found.ok, found.detail) == (True, "this system does not report the free space of the disk")


@pytest.mark.parametrize(("kind", "named"), [("a.db", "the file is read-only"), ("", "the directory is read-only")])
def test_what_may_not_be_written_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str, named: str
) -> None:
    file = tmp_path / "a.db"
    file.touch()
    refused = file if kind else tmp_path
    monkeypatch.setattr(os, "access", lambda path, _: path != refused)
    with pytest.raises(Unavailable, match=named) as caught:
        require_writable(file)
    assert caught.value.hint


def _disk(monkeypatch: pytest.MonkeyPatch, *, free: int, available: int, total: int) -> None:
    """A file system with so many blocks."""
    found = SimpleNamespace(f_bfree=free, f_bavail=available, f_blocks=total, f_frsize=BLOCK_BYTES)
    monkeypatch.setattr(os, "statvfs", lambda _: found)
