"""What NATS and JetStream errors mean. Adapter: imports the foundation and the driver.

The rule: only what *this message* can never be is a rejection; what the caller asked for on purpose (does the stream
exist? is the record unchanged?) is an answer; everything else, unknown codes included, is an outage. A limit of the
server, the account or the stream is an outage: messages wait, in order, until an operator makes room.

Codes: `server/errors.json` of nats-server, field `error_code`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any, Final

import nats.errors

from freehold.errors import BrokerError, FreeholdError, MessageRejected, OperationTimeout, Unavailable

__all__ = [
    "ERROR_TABLE",
    "NAME_IN_USE",
    "STREAM_NOT_FOUND",
    "WRONG_LAST_SEQUENCE",
    "ApiError",
    "Meaning",
    "publish_error",
    "raise_error",
    "translated",
]

_RUNNING: Final = "is nats-server running, with JetStream (-js)?"
_ROOM: Final = "make room: raise the limit of the server, account or stream, or delete what is not needed"
_WAIT: Final = "the cluster may be electing a leader; the same call may succeed later"

STREAM_NOT_FOUND: Final = 10059
NAME_IN_USE: Final = 10058
WRONG_LAST_SEQUENCE: Final = 10071
_WRONG_LAST_SEQUENCE_TOO: Final = 10164
"""The same without the number in its text: nats-server 2.11 has both."""


class Meaning(StrEnum):
    """What follows from an error of JetStream."""

    OUTAGE = "outage"
    """The same call may succeed later: wait and keep order."""
    REJECTION = "rejection"
    """This message can never be stored."""
    ANSWER = "answer"
    """The caller asked for it: it decides."""


ERROR_TABLE: Final[Mapping[int, tuple[Meaning, str]]] = {
    10054: (Meaning.REJECTION, "the message is larger than the stream takes"),
    10097: (Meaning.REJECTION, "the headers of the message are larger than 64 KiB"),
    NAME_IN_USE: (Meaning.ANSWER, "a stream of this name exists with another configuration"),
    STREAM_NOT_FOUND: (Meaning.ANSWER, "the stream does not exist"),
    10014: (Meaning.ANSWER, "the consumer does not exist"),
    10037: (Meaning.ANSWER, "no such message"),
    WRONG_LAST_SEQUENCE: (Meaning.ANSWER, "the record was changed by somebody else"),
    _WRONG_LAST_SEQUENCE_TOO: (Meaning.ANSWER, "the record was changed by somebody else"),
    10000: (Meaning.OUTAGE, "the server cannot store temporary files"),
    10002: (Meaning.OUTAGE, "the account is at its limit"),
    10004: (Meaning.OUTAGE, "the cluster is incomplete"),
    10005: (Meaning.OUTAGE, "no server of the cluster has room for the stream"),
    10006: (Meaning.OUTAGE, "the cluster is not active"),
    10007: (Meaning.OUTAGE, "the stream is not assigned in the cluster"),
    10008: (Meaning.OUTAGE, "JetStream is temporarily unavailable"),
    10009: (Meaning.OUTAGE, "the server is not the leader of the cluster"),
    10023: (Meaning.OUTAGE, "the server has too few resources"),
    10026: (Meaning.OUTAGE, "the account is at its limit of consumers"),
    10027: (Meaning.OUTAGE, "the account is at its limit of streams"),
    10028: (Meaning.OUTAGE, "the server is at its limit of memory storage"),
    10035: (Meaning.OUTAGE, "the account does not exist"),
    10039: (Meaning.OUTAGE, "JetStream is not enabled for the account"),
    10047: (Meaning.OUTAGE, "the server is at its limit of file storage"),
    10060: (Meaning.OUTAGE, "another stream takes this subject"),
    10074: (Meaning.OUTAGE, "the stream has fewer replicas than it needs"),
    10076: (Meaning.OUTAGE, "JetStream is not enabled"),
    10077: (Meaning.OUTAGE, "the stream is at its limit"),
    10104: (Meaning.OUTAGE, "the server cannot store the consumer"),
    10109: (Meaning.OUTAGE, "the stream is sealed"),
    10118: (Meaning.OUTAGE, "the stream is offline"),
    10119: (Meaning.OUTAGE, "the consumer is offline"),
    10158: (Meaning.OUTAGE, "a message with the same id is being stored"),
    10167: (Meaning.OUTAGE, "JetStream has too many requests"),
}
"""The meaning and the reason of each code that was looked at; `_meaning` decides for all others."""
_AT_A_LIMIT: Final = frozenset({10000, 10002, 10005, 10023, 10026, 10027, 10028, 10047, 10077, 10104})


class ApiError(BrokerError):
    """JetStream answered with an error that the caller decides on; `number` is its error code."""

    def __init__(self, number: int, description: str) -> None:
        super().__init__(f"NATS refused: {description} ({number})")
        self.number = number


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Raise the driver's errors as `OperationTimeout` or `Unavailable`."""
    try:
        yield
    except (TimeoutError, nats.errors.TimeoutError) as error:
        raise OperationTimeout("NATS did not answer in time", hint=_RUNNING) from error
    except nats.errors.NoRespondersError as error:
        raise Unavailable("nobody answers in NATS: JetStream or the stream is gone", hint=_RUNNING) from error
    except (nats.errors.Error, OSError) as error:
        raise Unavailable(f"NATS cannot be reached ({type(error).__name__})", hint=_RUNNING) from error


def raise_error(answer: Mapping[str, Any]) -> None:
    """Raise what JetStream's API answered, if it is an error: `Unavailable` for an outage, `ApiError` for the rest."""
    error = answer.get("error")
    if error is None:
        return
    number, status, description = _parts(error)
    if _meaning(number, status) is Meaning.OUTAGE:
        raise _outage(number, description)
    raise ApiError(number, description)


def publish_error(answer: Mapping[str, Any]) -> FreeholdError | None:
    """What a confirmation says of its message: nothing, `MessageRejected`, `ApiError` for a record that was changed
    meanwhile, or `Unavailable`. A code that is not known never rejects a message.
    """
    error = answer.get("error")
    if error is None:
        return None
    number, _, description = _parts(error)
    if number in {WRONG_LAST_SEQUENCE, _WRONG_LAST_SEQUENCE_TOO}:
        return ApiError(WRONG_LAST_SEQUENCE, description)
    meaning, reason = ERROR_TABLE.get(number, (Meaning.OUTAGE, description))
    if meaning is Meaning.REJECTION:
        return MessageRejected(f"NATS rejects the message: {reason} ({number})", hint="send a reference instead")
    return _outage(number, description)


def _parts(error: Mapping[str, Any]) -> tuple[int, int, str]:
    return int(error.get("err_code", 0)), int(error.get("code", 500)), str(error.get("description"))


def _meaning(number: int, status: int) -> Meaning:
    """A code that is not in the table is an outage unless the server blames the question (4xx)."""
    if number in ERROR_TABLE:
        return ERROR_TABLE[number][0]
    return Meaning.ANSWER if 400 <= status < 500 and status not in {408, 429} else Meaning.OUTAGE


def _outage(number: int, description: str) -> Unavailable:
    """The server's description is kept: it names limits and streams, and holds nothing of a message."""
    reason = ERROR_TABLE[number][1] if number in ERROR_TABLE else description
    detail = "" if reason == description else f": {description}"
    return Unavailable(
        f"NATS cannot serve now: {reason} ({number}{detail})", hint=_ROOM if number in _AT_A_LIMIT else _WAIT
    )
