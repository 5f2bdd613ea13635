"""What is told of an error: its class and the line of the user's own code; nothing that it says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from freehold.errors import CodecError, Unavailable
from freehold.origin import describe, origin


def _caught(action: Callable[[], None]) -> Exception:
    try:
        action()
    except Exception as error:  # noqa: BLE001 - whatever it is
        return error
    raise AssertionError("nothing was raised")


def in_a_library() -> None:
    json.loads("secret")


def wrapped() -> None:
    try:
        in_a_library()
    except ValueError as error:
        raise Unavailable("the other service is away") from error


def _line(text: str) -> int:
    lines = Path(__file__).read_text().splitlines()
    return next(number for number, each in enumerate(lines, 1) if text in each and "_line(" not in each)


def test_the_line_is_the_last_one_of_a_persons_own() -> None:
    place = f"tests/unit/foundation/test_origin.py:{_line('json.loads')}"
    error = _caught(in_a_library)
    assert origin(error) == place
    assert describe(error) == f"JSONDecodeError in in_a_library, {place}"


def test_a_line_of_a_compiled_driver_is_a_librarys() -> None:
    """Its frames name the source that it was built from, which is on no import path."""
    driver: dict[str, Callable[[], None]] = {}
    exec(compile("def execute():\n    raise LookupError", "asyncmy/errors.pyx", "exec"), driver)

    def in_a_driver() -> None:
        driver["execute"]()

    place = f"tests/unit/foundation/test_origin.py:{_line('in_a_driver() -> None') + 1}"
    assert origin(_caught(in_a_driver)) == place


def test_an_error_of_freehold_keeps_its_text_and_gets_the_place() -> None:
    place = f"tests/unit/foundation/test_origin.py:{_line('raise Unavailable')}"
    assert describe(_caught(wrapped)) == f"the other service is away, at {place}"
    assert describe(CodecError("a body", hint="mend it")) == "a body (mend it)"


def test_without_a_line_of_ones_own_it_is_where_the_code_is_defined() -> None:
    assert origin(ValueError(), in_a_library) == f"tests/unit/foundation/test_origin.py:{_line('def in_a_library')}"
    assert origin(ValueError()) == ""
    assert origin(ValueError(), object()) == ""
    assert describe(ValueError("secret")) == "ValueError"


def test_the_chain_of_causes_ends() -> None:
    first, second = ValueError(), KeyError()
    first.__cause__, second.__cause__ = second, first
    assert origin(first) == ""
