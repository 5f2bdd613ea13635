"""Every command of both command lines: its exit codes, and that an error is one document where JSON was asked for."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import click
import pytest
from tests.unit.cli.typing_in import Answer

from freehold.cli import run_command_line
from freehold.cli.main import cli as freehold_cli
from freehold.cli.options import FiniteRange
from freehold_shop.cli.main import cli as shop_cli

_APP = """\
from freehold import Service

till = Service("till")
"""


def _leaves(command: click.Command, path: tuple[str, ...], parent: click.Context | None) -> Iterator[tuple[str, ...]]:
    context = click.Context(command, parent, info_name=path[-1] if path else None)
    if not isinstance(command, click.Group):
        yield path
        return
    for name in command.list_commands(context):
        child = command.get_command(context, name)
        assert child is not None
        yield from _leaves(child, (*path, name), context)


FREEHOLD = [" ".join(path) for path in _leaves(freehold_cli, (), None)]
SHOP = [" ".join(path) for path in _leaves(shop_cli, (), None)]
# They open no database.
_WITHOUT_DATABASE = {"db sql", "describe", "schema write", "schema check", "schema asyncapi", "saga diagram",
                     "broker accounts", "broker streams"}  # fmt: skip


Typing = Callable[..., Answer]


def _command(path: str, command: click.Command = freehold_cli) -> click.Command:
    for name in path.split():
        assert isinstance(command, click.Group)
        found = command.get_command(click.Context(command), name)
        assert found is not None
        command = found
    return command


def _needed(path: str) -> list[str]:
    """What the command insists on, made up."""
    given: list[str] = []
    for parameter in _command(path).params:
        value = {"uuid": str(uuid4()), "integer range": "7", "text": "nosuch"}.get(parameter.type.name, "nosuch")
        if path == "db mark" and parameter.name in {"name", "service"}:
            value = "till"
        if isinstance(parameter, click.Argument):
            if parameter.required or parameter.name == "letter_ids":
                given.append(value)
        elif parameter.required:
            given += [parameter.opts[0], value]
        elif parameter.name == "yes":
            given.append("--yes")
    return given


@pytest.fixture
def typed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Typing:
    """A project of one service in an empty directory."""
    (tmp_path / "exit_codes_app.py").write_text(_APP)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("FREEHOLD_APP", "FREEHOLD_SETTINGS"):
        monkeypatch.delenv(name, raising=False)

    def typed(*arguments: str, command: click.Command = freehold_cli) -> Answer:
        capsys.readouterr()
        code = run_command_line(command, "typed", list(arguments))
        out, err = capsys.readouterr()
        return Answer(code, out, err)

    return typed


def standard_input(patch: pytest.MonkeyPatch, content: bytes) -> None:
    patch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))


def _is_error(answer: Answer) -> bool:
    """One document that tells of an error; people are told on standard error."""
    return set(json.loads(answer.out)["error"]) == {"kind", "message", "hint"} and answer.err != ""


def _settled(database: str, tmp_path: Path) -> None:
    (tmp_path / "freehold.toml").write_text(
        f'broker = "embedded:///{tmp_path}/broker.db"\n[project]\nmodules = ["exit_codes_app"]\n'
        f'[services.till]\ndatabase = "{database}"\n'
    )


@pytest.mark.parametrize("path", FREEHOLD)
def test_an_unknown_option_is_2(typed: Typing, path: str) -> None:
    answer = typed(*path.split(), "--no-such-option", "--json")
    assert (answer.code, _is_error(answer)) == (2, True)


@pytest.mark.parametrize("path", SHOP)
def test_an_unknown_option_of_the_shop_is_2(typed: Typing, path: str) -> None:
    answer = typed(*path.split(), "--no-such-option", "--json", command=shop_cli)
    assert (answer.code, _is_error(answer)) == (2, True)


@pytest.mark.parametrize("path", FREEHOLD)
def test_broken_settings_are_2(typed: Typing, path: str, tmp_path: Path) -> None:
    (tmp_path / "freehold.toml").write_text("[project\n")
    answer = typed(*path.split(), *_needed(path), "--json")
    assert (answer.code, _is_error(answer)) == (2, True)


@pytest.mark.parametrize("path", [path for path in FREEHOLD if path not in _WITHOUT_DATABASE | {"reconcile"}])
def test_a_database_that_is_down_is_3(typed: Typing, path: str, tmp_path: Path) -> None:
    _settled("postgresql://u:p@127.0.0.1:1/x", tmp_path)
    answer = typed(*path.split(), *_needed(path), "--json")
    assert answer.code == 3
    assert path == "doctor" or _is_error(answer)
    assert json.loads(answer.out)


_ASKED = [path for path in FREEHOLD if any(isinstance(each, click.Argument) for each in _command(path).params)]


@pytest.mark.parametrize(
    "path", [path for path in _ASKED if path not in {"schema write", "schema asyncapi", "reconcile", "db mark"}]
)
def test_what_is_not_there_is_1(typed: Typing, path: str, tmp_path: Path) -> None:
    _settled(f"sqlite:///{tmp_path}/till.db", tmp_path)
    assert typed("db", "upgrade").code == 0
    answer = typed(*path.split(), *_needed(path), "--json")
    assert answer.code == 1
    assert json.loads(answer.out)


@pytest.mark.parametrize("arguments", [("verify",), ("break", "x"), ("heal",), ("faults",)])
def test_a_shop_that_does_not_run_is_3(typed: Typing, arguments: tuple[str, ...]) -> None:
    answer = typed(*arguments, "--json", command=shop_cli)
    assert (answer.code, _is_error(answer)) == (3, True)


def test_files_that_cannot_be_read_are_2(typed: Typing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert typed("replay", "nosuch.csv", "--json", command=shop_cli).code == 2
    standard_input(monkeypatch, b"no,header\n")
    answer = typed("replay", "-", "--json", command=shop_cli)
    assert (answer.code, _is_error(answer)) == (2, True)
    assert typed("replay", "-", "-", command=shop_cli).code == 2
    _settled(f"sqlite:///{tmp_path}/till.db", tmp_path)
    assert typed("schema", "check", "--catalogue", "nosuch.json", "--json").code == 2


def test_a_catalogue_goes_through_a_pipe(typed: Typing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _settled(f"sqlite:///{tmp_path}/till.db", tmp_path)
    written = typed("schema", "write", "-")
    assert written.code == 0
    standard_input(monkeypatch, written.out.encode())
    assert typed("schema", "check", "--catalogue", "-").code == 0
    standard_input(monkeypatch, b"{}")
    assert typed("schema", "check", "--catalogue", "-").code == 2
    assert json.loads(typed("schema", "asyncapi", "till", "--output", "-").out)["asyncapi"]


_NUMBERS = [
    ("shop", "break", "x", "--for"),
    ("shop", "run", "--orders-per-second"),
    ("shop", "replay", "x.csv", "--rate"),
    ("shop", "replay", "x.csv", "--patience"),
    ("shop", "verify", "--wait"),
    ("freehold", "monitor", "--max-lag-seconds"),
    ("freehold", "outbox", "--max-lag-seconds"),
    ("freehold", "projection", "list", "--sample"),
    ("freehold", "projection", "show", "x", "--sample"),
    ("freehold", "projection", "rebuild", "x", "--reason", "r", "--timeout"),
    ("freehold", "dlq", "list", "--limit"),
    ("freehold", "dlq", "replay", "--all", "--reason", "r", "--limit"),
    ("freehold", "projection", "replay", "errors", "--after", "1", "7", "--limit"),
    ("freehold", "projection", "replay", "errors", "7", "--after"),
]


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "-1", "1e300", str(10**30), "many"])
@pytest.mark.parametrize("arguments", _NUMBERS, ids=" ".join)
def test_what_is_no_number_of_anything_is_2(typed: Typing, arguments: tuple[str, ...], value: str) -> None:
    command = shop_cli if arguments[0] == "shop" else freehold_cli
    answer = typed(*arguments[1:], value, "--json", command=command)
    assert (answer.code, _is_error(answer)) == (2, True)


def test_every_number_is_among_them() -> None:
    """A new option that takes a number is tried as well."""
    for name, command, paths in (("freehold", freehold_cli, FREEHOLD), ("shop", shop_cli, SHOP)):
        tried = {(" ".join(each[1:-1]), each[-1]) for each in _NUMBERS if each[0] == name}
        for path in paths:
            for parameter in _command(path, command).params:
                if isinstance(parameter, click.Option) and isinstance(parameter.type, click.FloatRange):
                    assert isinstance(parameter.type, FiniteRange), (path, parameter.opts)
                    assert any(begin.startswith(path) and last in parameter.opts for begin, last in tried)


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [(("montior",), "monitor"), (("dlq", "replya"), "replay"), (("projection", "cancel-rebiuld"), "cancel-rebuild")],
)
def test_a_misspelt_command_is_told_the_nearest(typed: Typing, arguments: tuple[str, ...], meant: str) -> None:
    answer = typed(*arguments)
    assert answer.code == 2
    assert "Did you mean" in answer.err
    assert repr(meant) in answer.err
    assert "Did you mean 'verify'?" in typed("verfy", command=shop_cli).err


def test_a_bug_has_a_document_that_quotes_nothing(typed: Typing) -> None:
    @click.command()
    @click.option("--json", "as_json", is_flag=True)
    def broken(*, as_json: bool) -> None:
        raise RuntimeError("a secret")

    answer = typed("--json", command=broken)
    assert (answer.code, _is_error(answer)) == (1, True)
    assert "RuntimeError" in answer.out
    assert "secret" not in answer.out
    assert "Traceback" in answer.err


def test_ctrl_c_is_130(typed: Typing) -> None:
    @click.command()
    def interrupted() -> None:
        raise KeyboardInterrupt

    answer = typed(command=interrupted)
    assert (answer.code, answer.err.strip()) == (130, "error: interrupted")


def test_each_tells_its_version(typed: Typing) -> None:
    assert typed("--version").out.startswith("typed 0.")
    assert typed("--version", command=shop_cli).out.startswith("typed 0.")


_SCRIPTS = Path(sys.executable).parent


def test_who_stops_reading_is_not_complained_about(tmp_path: Path) -> None:
    """Nobody reads at all: the first write fails, and so does the flush at the end."""
    read, write = os.pipe()
    os.close(read)
    finished = subprocess.run(
        [_SCRIPTS / "freehold", "--help"], stdout=write, stderr=subprocess.PIPE, cwd=tmp_path, check=False, timeout=60
    )
    os.close(write)
    assert (finished.returncode, finished.stderr) == (141, b"")


def test_closed_streams_are_no_bug(tmp_path: Path) -> None:
    """As `freehold … <&- >&-` starts it."""
    (tmp_path / "exit_codes_app.py").write_text(_APP)
    _settled(f"sqlite:///{tmp_path}/till.db", tmp_path)
    for redirected, expected in (("<&-", 2), (">&-", 2), ("<&- >&- 2>&-", 2)):
        line = f"exec {_SCRIPTS}/freehold dlq discard --all --reason r {redirected}"
        finished = subprocess.run(["sh", "-c", line], cwd=tmp_path, capture_output=True, check=False, timeout=60)
        assert finished.returncode == expected, finished.stderr
        assert b"Traceback" not in finished.stderr


def test_names_are_completed(tmp_path: Path) -> None:
    for command, words in (("freehold", "freehold dlq re"), ("shop", "shop re")):
        environment = {**os.environ, f"_{command.upper()}_COMPLETE": "bash_complete", "COMP_WORDS": words}
        environment["COMP_CWORD"] = str(words.count(" "))
        finished = subprocess.run(
            [_SCRIPTS / command], env=environment, cwd=tmp_path, capture_output=True, check=False, timeout=60
        )
        assert (finished.returncode, finished.stdout) == (0, b"plain,replay\n")
