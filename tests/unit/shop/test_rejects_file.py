"""The rejects file has one writer at a time, and is whole whoever else wants it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from freehold.errors import ConfigurationError
from freehold_shop.replay.session import _usual_writer, _writer
from freehold_shop.retail import Rejected, RejectsWriter, read_rejects

ROW = Rejected(file="orders.csv", line_number=2, reason="no-customer", raw=b"1,2,3", detail="", part=0)
_HOLDER = """
import sys
from freehold_shop.retail import RejectsWriter
writer = RejectsWriter(sys.argv[1])
print("held", flush=True)
sys.stdin.read()
"""


def test_a_second_writer_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "rejects.csv"
    with RejectsWriter(path) as writer:
        writer.write(ROW)
        writer.flush()
        with pytest.raises(BlockingIOError):
            RejectsWriter(path)
        writer.write(ROW)
    assert list(read_rejects(path)) == [ROW, ROW]


def test_the_next_writer_begins_with_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "rejects.csv"
    for _ in range(2):
        with RejectsWriter(path) as writer:
            writer.write(ROW)
    assert list(read_rejects(path)) == [ROW]


def test_a_writer_that_was_killed_holds_nothing(tmp_path: Path) -> None:
    path = tmp_path / "rejects.csv"
    holder = subprocess.Popen([sys.executable, "-c", _HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    with pytest.raises(BlockingIOError):
        RejectsWriter(path)
    holder.send_signal(signal.SIGKILL)
    holder.communicate(timeout=30)
    RejectsWriter(path).close()


def test_what_is_no_file_is_shared() -> None:
    with RejectsWriter("/dev/null"), RejectsWriter("/dev/null"):
        pass


def test_a_named_file_in_use_is_refused_with_advice(tmp_path: Path) -> None:
    path = tmp_path / "rejects.csv"
    with RejectsWriter(path), pytest.raises(ConfigurationError, match="another replay writes") as refused:
        _writer(path)
    assert refused.value.hint == "choose another --rejects"


def test_replays_side_by_side_have_files_of_their_own(tmp_path: Path) -> None:
    with _usual_writer(tmp_path / "shop") as first, _usual_writer(tmp_path / "shop") as second:
        assert [first.path.name, second.path.name] == ["shop.rejects.csv", "shop.rejects-2.csv"]
