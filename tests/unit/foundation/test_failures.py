"""Whatever an error is called and says, it can be written down."""

from __future__ import annotations

import sys

import pytest

from freehold.errors import FreeholdError, Unavailable
from freehold.failures import TEXT_CHARACTERS_MAX, describe, name_of, plain_text


def _raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:  # noqa: BLE001 - with its traceback
        return caught


def test_a_text_is_cut_off_and_what_no_engine_stores_is_replaced() -> None:
    assert plain_text("a\x00b\ud800c\x1bd\x85e\nf\tg é 😀") == "a\ufffdb\ufffdc\ufffdd\ufffde\nf\tg é 😀"
    assert len(plain_text("x" * 10_000)) == TEXT_CHARACTERS_MAX
    plain_text(bytes(range(256)).decode("utf-8", "surrogateescape")).encode()


def test_of_freeholds_own_errors_the_text_is_told_and_of_others_the_place() -> None:
    assert describe(Unavailable("gone", hint="wait\x00")) == "gone (wait\ufffd)"
    told = describe(_raised(ValueError("secret")))
    assert told.startswith("ValueError in _raised, ")
    assert "secret" not in told
    assert describe(ValueError("secret")) == "ValueError"


def test_a_class_with_an_odd_name_or_a_text_that_cannot_be_made_is_told_as_well() -> None:
    odd = type("Bad\x1b" + "x" * 1000, (Exception,), {})
    assert name_of(odd()).startswith("Bad\ufffdx")
    assert len(name_of(odd())) == 200
    describe(_raised(odd())).encode()

    class Silent(FreeholdError):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    assert describe(Silent("never told")) == "Silent"


def test_an_error_deep_down_is_told_at_once() -> None:
    def down(depth: int) -> None:
        if depth == 0:
            raise RecursionError
        down(depth - 1)

    with pytest.raises(RecursionError) as caught:
        down(sys.getrecursionlimit() // 2)
    assert describe(caught.value).startswith("RecursionError in down, ")
