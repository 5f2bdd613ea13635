"""Tables that fit the terminal, and what goes through a pipe."""

from __future__ import annotations

import asyncio
import os
import pty
import re
import subprocess
import sys
import termios
import textwrap
from uuid import UUID

import pytest

from freehold.cli.output import document_of, duration, note_on_interrupt, table, to_plain

ID = UUID("01a1fbfe-8d10-704c-9edc-490155d7d7e5")
COLUMNS = ("service", "id", "type", "reason", "tries")
ROWS = [("orders", ID, "orders.order-cancelled-for-good", "attempts-exhausted", 3)]


def _on_terminal(columns: int) -> tuple[str, str]:
    """Draw the table in a process whose standard output is a terminal so wide."""
    code = f"""
        from uuid import UUID
        from freehold.cli.output import table
        table("Letters", {COLUMNS!r}, {ROWS!r}, empty="none", least=("tries", "service"))
    """
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, columns))
    environ = {key: value for key, value in os.environ.items() if key not in {"COLUMNS", "LINES"}}
    drawn = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        stdin=theirs, stdout=theirs, stderr=subprocess.PIPE, env={**environ, "TERM": "xterm"}, check=True,
    )  # fmt: skip
    os.close(theirs)
    out = os.read(ours, 65536).decode()
    os.close(ours)
    return re.sub(r"\x1b\[[0-9;]*m", "", out), drawn.stderr.decode()


def test_a_narrow_terminal_keeps_ids_whole_and_leaves_out_the_least_columns() -> None:
    out, err = _on_terminal(70)
    assert str(ID) in out
    assert max(len(line) for line in out.splitlines()) <= 70
    assert "tries" not in out
    assert "service" not in out
    assert err.strip() == "the terminal is too narrow for: tries, service"


def test_a_wide_terminal_shows_everything() -> None:
    out, err = _on_terminal(120)
    assert all(name in out for name in COLUMNS)
    assert err == ""


def test_nothing_is_folded_on_its_way_into_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    table("Letters", COLUMNS, [(*ROWS[0][:3], "x" * 300, 3)], empty="none", least=("tries",))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert "x" * 300 in lines[2]


def test_brackets_in_cells_are_text(capsys: pytest.CaptureFixture[str]) -> None:
    table("[bold]", ("a",), [("[red]x[/red]",)], empty="none")
    out = capsys.readouterr().out
    assert "[red]x[/red]" in out
    assert "[bold]" in out


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "-"), (0, "0 ms"), (0.34, "340 ms"), (12, "12.0 s"), (180, "3 min"), (9000, "2.5 h"), (345600, "4.0 d")],
)
def test_a_time_span_is_shown_in_the_unit_that_fits(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_a_document_that_cannot_be_read_is_shown_with_its_bytes() -> None:
    assert document_of(b'{"a": [1]}') == {"a": [1]}
    assert document_of(b"\xff{") == "\\xff{"
    assert document_of(None) is None
    assert to_plain({"a": (ID, b"\xff")}) == {"a": [ID, "\\xff"]}


async def test_ctrl_c_leaves_word_of_how_far_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(asyncio.CancelledError), note_on_interrupt(lambda: "3 of 7 compared"):
        raise asyncio.CancelledError
    assert capsys.readouterr().err == "3 of 7 compared\n"
