"""Runs a command line and maps its result to an exit code: for `freehold`, and for the commands of projects. Face.

Exit codes: 0 done, 1 a check failed, or the requested object does not exist, 2 wrong usage, settings or input, 3
something cannot be reached; 130 (ended by ctrl-c) and 141 (the reader of the output has ended) are conventions of the
shell. With `--json` an error is also one document on standard output; everything else goes to standard error.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Sequence

import click

from freehold.errors import (
    CodecError,
    ConfigurationError,
    DeclarationError,
    FreeholdError,
    NotFound,
    Unavailable,
    joined,
)

__all__ = ["FAILED", "INTERRUPTED", "UNREACHABLE", "USAGE", "code_of", "run_command_line"]

FAILED = 1
USAGE = 2
UNREACHABLE = 3
INTERRUPTED = 130
_BROKEN_PIPE = 141
_REPORT = "this should not happen: please report it with the text above"


def run_command_line(command: click.Command, name: str, arguments: Sequence[str] | None = None) -> int:
    """Run the command with its arguments, by default those of the process; returns the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    _open_streams()
    try:
        code = _run(command, name, given, as_json="--json" in given[: _end_of_options(given)])
        sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes the rest of the output at exit, and would print an error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _BROKEN_PIPE
    return code


def code_of(error: FreeholdError) -> int:
    """The exit code of an error."""
    match error:
        case NotFound():
            return FAILED
        case ConfigurationError() | DeclarationError() | CodecError():
            return USAGE
        case Unavailable():
            return UNREACHABLE
        case _:
            return FAILED


def _run(command: click.Command, name: str, arguments: list[str], *, as_json: bool) -> int:
    output = sys.stdout
    try:
        _check_text(arguments)
        result = command.main(args=arguments, prog_name=name, standalone_mode=False)
    except click.exceptions.Exit as leaving:
        return leaving.exit_code
    except SystemExit as leaving:
        # click raises it after shell completion, and for a broken pipe: it has replaced `sys.stdout` then.
        if sys.stdout is not output:
            return _BROKEN_PIPE
        return leaving.code if isinstance(leaving.code, int) else FAILED
    except BrokenPipeError:
        raise
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - a bug has an exit code and a document as well
        return _failed(_one_of(error), as_json=as_json)
    return result if isinstance(result, int) else 0


def _failed(error: Exception | KeyboardInterrupt, *, as_json: bool) -> int:
    kind, message, hint, code = type(error).__name__, str(error), "", USAGE
    match error:
        case click.Abort() | KeyboardInterrupt():
            kind = message = "interrupted"
            code = INTERRUPTED
        case click.ClickException():
            error.show()
            if as_json:
                _answer("usage", error.format_message(), "")
            return USAGE
        case FreeholdError():
            message, hint, code = error.message, error.hint, code_of(error)
        case OSError():
            place = f": {error.filename}" if error.filename else ""
            message = f"{error.strerror or kind}{place}"
            code = UNREACHABLE if isinstance(error, (ConnectionError, TimeoutError)) else USAGE
        case Exception():
            traceback.print_exception(error)
            kind, message, hint, code = "bug", _placed(error), _REPORT, FAILED
    _complain(kind, message, hint, as_json=as_json)
    return code


def _one_of(error: Exception | KeyboardInterrupt) -> Exception | KeyboardInterrupt:
    """One error of a group: all joined if they are Freehold's own, else the first that is not."""
    if not isinstance(error, ExceptionGroup):
        return error
    leaves = [_one_of(each) for each in error.exceptions]
    own = [each for each in leaves if isinstance(each, FreeholdError)]
    return joined(own) if len(own) == len(leaves) else next(each for each in leaves if each not in own)


def _placed(error: Exception) -> str:
    """The class and the place of a bug, without its text, which may contain values."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" in {frames[-1].filename} line {frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{place}"


def _open_streams() -> None:
    """Replace standard streams that were closed when the process was started by the null device."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115, PTH123 - open until the process ends


def _check_text(arguments: Sequence[str]) -> None:
    """Refuse arguments that are not text, unless they name a file."""
    for each in arguments:
        try:
            each.encode()
        except UnicodeEncodeError:
            if not os.path.lexists(each):
                raise click.UsageError("an argument is not UTF-8 text") from None


def _end_of_options(arguments: Sequence[str]) -> int:
    return arguments.index("--") if "--" in arguments else len(arguments)


def _complain(kind: str, message: str, hint: str, *, as_json: bool) -> None:
    """Print an error and its hint; with `as_json` also as a document."""
    click.echo(f"error: {message}", err=True)
    if hint:
        click.echo(f"hint:  {hint}", err=True)
    if as_json:
        _answer(kind, message, hint)


def _answer(kind: str, message: str, hint: str) -> None:
    click.echo(json.dumps({"error": {"kind": kind, "message": message, "hint": hint}}, indent=2))
