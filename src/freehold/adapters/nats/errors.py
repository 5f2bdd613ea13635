"""Translates errors of NATS and JetStream. Adapter: imports the foundation and the driver.

1. A refusal is only an error that *this message* will always get.
2. An answer is an error that the caller asked for (does the stream exist? is the record unchanged?).
3. Everything else is an outage, including unknown codes. A limit of the server, the account or the stream is an outage,
   too: messages wait in order until an operator makes room.

Codes: `server/errors.json` of nats-server, field `error_code`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, Final

import nats.errors

from freehold.errors import BrokerError, ErrorMeaning, FreeholdError, MessageRejected, OperationTimeout, Unavailable

__all__ = [
    "CONSUMER_NOT_FOUND",
    "ERROR_TABLE",
    "NAME_IN_USE",
    "STREAM_NOT_FOUND",
    "WRONG_LAST_SEQUENCE",
    "ApiError",
    "NobodyAnswers",
    "StreamGone",
    "as_outage",
    "publish_error",
    "raise_error",
    "translated",
]

_RUNNING: Final = "is nats-server running, with JetStream (-js)?"
_LOGIN: Final = "check user and password in the broker's URL"
_ROOM: Final = "make room: raise the limit of the server, account or stream, or delete what is not needed"
_WAIT: Final = "the cluster may be electing a leader; the same call may succeed later"

STREAM_NOT_FOUND: Final = 10059
CONSUMER_NOT_FOUND: Final = 10014
NAME_IN_USE: Final = 10058
WRONG_LAST_SEQUENCE: Final = 10071
_WRONG_LAST_SEQUENCE_TOO: Final = 10164
"""The same without a number in its text; nats-server 2.11 has both."""


ERROR_TABLE: Final[Mapping[int, tuple[ErrorMeaning, str]]] = {
    10054: (ErrorMeaning.REFUSAL, "the message is larger than the stream permits"),
    10097: (ErrorMeaning.REFUSAL, "the headers of the message are larger than 64 KiB"),
    NAME_IN_USE: (ErrorMeaning.ANSWER, "a stream of this name exists with another configuration"),
    STREAM_NOT_FOUND: (ErrorMeaning.ANSWER, "the stream does not exist"),
    CONSUMER_NOT_FOUND: (ErrorMeaning.ANSWER, "the consumer does not exist"),
    10037: (ErrorMeaning.ANSWER, "no such message"),
    WRONG_LAST_SEQUENCE: (ErrorMeaning.ANSWER, "another process changed the record"),
    _WRONG_LAST_SEQUENCE_TOO: (ErrorMeaning.ANSWER, "another process changed the record"),
    10000: (ErrorMeaning.OUTAGE, "the server cannot store temporary files"),
    10002: (ErrorMeaning.OUTAGE, "the account is at its limit"),
    10004: (ErrorMeaning.OUTAGE, "the cluster is incomplete"),
    10005: (ErrorMeaning.OUTAGE, "no server of the cluster has room for the stream"),
    10006: (ErrorMeaning.OUTAGE, "the cluster is not active"),
    10007: (ErrorMeaning.OUTAGE, "the stream is not assigned in the cluster"),
    10008: (ErrorMeaning.OUTAGE, "JetStream is temporarily unavailable"),
    10009: (ErrorMeaning.OUTAGE, "the server is not the leader of the cluster"),
    10023: (ErrorMeaning.OUTAGE, "the server has too few resources"),
    10026: (ErrorMeaning.OUTAGE, "the account is at its limit of consumers"),
    10027: (ErrorMeaning.OUTAGE, "the account is at its limit of streams"),
    10028: (ErrorMeaning.OUTAGE, "the server is at its limit of memory storage"),
    10035: (ErrorMeaning.OUTAGE, "the account does not exist"),
    10039: (ErrorMeaning.OUTAGE, "JetStream is not enabled for the account"),
    10047: (ErrorMeaning.OUTAGE, "the server is at its limit of file storage"),
    10060: (ErrorMeaning.OUTAGE, "another stream has this subject"),
    10074: (ErrorMeaning.OUTAGE, "the stream has fewer replicas than it needs"),
    10076: (ErrorMeaning.OUTAGE, "JetStream is not enabled"),
    10077: (ErrorMeaning.OUTAGE, "the stream is at its limit"),
    10104: (ErrorMeaning.OUTAGE, "the server cannot store the consumer"),
    10109: (ErrorMeaning.OUTAGE, "the stream is sealed"),
    10118: (ErrorMeaning.OUTAGE, "the stream is offline"),
    10119: (ErrorMeaning.OUTAGE, "the consumer is offline"),
    10158: (ErrorMeaning.OUTAGE, "a message with the same id is being stored"),
    10167: (ErrorMeaning.OUTAGE, "JetStream has too many requests"),
}
"""Meaning and message of known codes; `_meaning` decides for all others."""
_AT_A_LIMIT: Final = frozenset({10000, 10002, 10005, 10023, 10026, 10027, 10028, 10047, 10077, 10104})


class ApiError(BrokerError):
    """An error of JetStream that the caller handles; `number` is its code."""

    def __init__(self, number: int, description: str) -> None:
        super().__init__(f"NATS refused: {description} ({number})")
        self.number = number


class NobodyAnswers(Unavailable):
    """No receiver for a request: it does not exist, or these credentials may not reach it."""


class StreamGone(Unavailable):
    """A stream does not exist. Nothing was stored; the caller has it created again."""


def as_outage(error: ApiError, what: str) -> Unavailable:
    """The error for a caller that cannot handle `error`: `StreamGone` for a missing stream, else `Unavailable`."""
    if error.number == STREAM_NOT_FOUND:
        return StreamGone(f"{what}: its stream is gone", hint="Freehold creates it again")
    return Unavailable(what, hint=error.message)


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Raise the driver's errors as `OperationTimeout` or `Unavailable`."""
    try:
        yield
    except (TimeoutError, nats.errors.TimeoutError) as error:
        raise OperationTimeout("NATS did not answer in time", hint=_RUNNING) from error
    except nats.errors.NoRespondersError as error:
        raise NobodyAnswers(
            "nobody answers in NATS: JetStream or the stream is gone, or these credentials have no right to it",
            hint=_RUNNING,
        ) from error
    except (nats.errors.Error, OSError) as error:
        # Of refused credentials the driver has only a text.
        refused = isinstance(error, nats.errors.AuthorizationError) or "authorization" in str(error).lower()
        reason, hint = ("it refuses the credentials", _LOGIN) if refused else (type(error).__name__, _RUNNING)
        raise Unavailable(f"NATS cannot be reached ({reason})", hint=hint) from error


def raise_error(answer: Mapping[str, Any]) -> None:
    """Raise the error in a reply of JetStream's API, if it has one: `Unavailable` for an outage, else `ApiError`."""
    error = answer.get("error")
    if error is None:
        return
    number, status, description = _parts(error)
    if _meaning(number, status) is ErrorMeaning.OUTAGE:
        raise _outage(number, description)
    raise ApiError(number, description)


def publish_error(answer: Mapping[str, Any]) -> FreeholdError | None:
    """The error in a confirmation, or None: `MessageRejected`, `ApiError` for a record that was changed meanwhile, or
    `Unavailable`. An unknown code never rejects a message.
    """
    error = answer.get("error")
    if error is None:
        return None
    number, _, description = _parts(error)
    if number in {WRONG_LAST_SEQUENCE, _WRONG_LAST_SEQUENCE_TOO}:
        return ApiError(WRONG_LAST_SEQUENCE, description)
    meaning, reason = ERROR_TABLE.get(number, (ErrorMeaning.OUTAGE, description))
    if meaning is ErrorMeaning.REFUSAL:
        return MessageRejected(f"NATS rejects the message: {reason} ({number})", hint="send a reference instead")
    return _outage(number, description)


def _parts(error: Mapping[str, Any]) -> tuple[int, int, str]:
    return int(error.get("err_code", 0)), int(error.get("code", 500)), str(error.get("description"))


def _meaning(number: int, status: int) -> ErrorMeaning:
    """The meaning of a code. One that is not in the table is an outage, unless the server blames the request (4xx)."""
    if number in ERROR_TABLE:
        return ERROR_TABLE[number][0]
    return ErrorMeaning.ANSWER if 400 <= status < 500 and status not in {408, 429} else ErrorMeaning.OUTAGE


def _outage(number: int, description: str) -> Unavailable:
    """The error with the server's description, which names limits and streams and contains no part of a message."""
    reason = ERROR_TABLE[number][1] if number in ERROR_TABLE else description
    detail = "" if reason == description else f": {description}"
    return Unavailable(
        f"NATS cannot serve now: {reason} ({number}{detail})", hint=_ROOM if number in _AT_A_LIMIT else _WAIT
    )
