"""Every error code of JetStream that is known, and one of each class that is not."""

from __future__ import annotations

import nats.errors
import pytest

from freehold.adapters.nats.errors import (
    ERROR_TABLE,
    WRONG_LAST_SEQUENCE,
    ApiError,
    publish_error,
    raise_error,
    translated,
)
from freehold.errors import ErrorMeaning, MessageRejected, OperationTimeout, Unavailable

_CHANGED = {WRONG_LAST_SEQUENCE, 10164}


def _answer(number: int, status: int = 400, text: str = "what the server says") -> dict[str, object]:
    return {"error": {"code": status, "err_code": number, "description": text}}


@pytest.mark.parametrize("number", ERROR_TABLE)
def test_a_confirmation_rejects_only_what_this_message_can_never_be(number: int) -> None:
    meaning, reason = ERROR_TABLE[number]
    error = publish_error(_answer(number))
    if meaning is ErrorMeaning.REFUSAL:
        assert isinstance(error, MessageRejected)
    elif number in _CHANGED:
        assert isinstance(error, ApiError)
        assert error.number == WRONG_LAST_SEQUENCE
    else:
        assert isinstance(error, Unavailable)
    if number not in _CHANGED:
        assert reason in str(error)


@pytest.mark.parametrize("number", ERROR_TABLE)
def test_the_api_answers_or_is_away(number: int) -> None:
    expected = Unavailable if ERROR_TABLE[number][0] is ErrorMeaning.OUTAGE else ApiError
    with pytest.raises(expected):
        raise_error(_answer(number))


@pytest.mark.parametrize("status", [400, 404, 408, 429, 500, 503])
def test_a_code_that_is_not_known_never_rejects_a_message(status: int) -> None:
    error = publish_error(_answer(99_999, status))
    assert isinstance(error, Unavailable)
    assert "what the server says" in str(error)


@pytest.mark.parametrize(
    ("status", "kind"), [(400, ApiError), (408, Unavailable), (429, Unavailable), (503, Unavailable)]
)
def test_a_code_of_the_api_that_is_not_known_goes_by_its_status(status: int, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        raise_error(_answer(99_999, status))


def test_an_error_without_any_code_is_an_outage() -> None:
    assert isinstance(publish_error({"error": {}}), Unavailable)
    assert publish_error({"seq": 1}) is None


@pytest.mark.parametrize(
    ("raised", "kind", "text"),
    [
        (TimeoutError(), OperationTimeout, "in time"),
        (nats.errors.TimeoutError(), OperationTimeout, "in time"),
        (nats.errors.NoRespondersError(), Unavailable, "stream is gone"),
        (nats.errors.ConnectionClosedError(), Unavailable, "ConnectionClosedError"),
        (nats.errors.OutboundBufferLimitError(), Unavailable, "OutboundBufferLimitError"),
        (nats.errors.StaleConnectionError(), Unavailable, "StaleConnectionError"),
        (nats.errors.Error("a kind to come"), Unavailable, "Error"),
        (ConnectionRefusedError(), Unavailable, "ConnectionRefusedError"),
        (OSError(28, "No space left on device"), Unavailable, "OSError"),
    ],
)
def test_errors_of_the_driver_are_outages(raised: Exception, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text), translated():
        raise raised
