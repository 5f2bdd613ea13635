"""Replies to requests: the headers that carry an outcome, `Rejected`, and the envelope of a reply, also of a repeated
one. Pattern: imports the foundation and its context.

A reply is an envelope of kind REPLY on the request's `reply_to` topic. Its document is stored with the receipt. A
duplicate of the request gets the same reply in a new message, since the first one may have been lost.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from freehold.context import ServiceContext
from freehold.errors import CodecError, DeclarationError, FreeholdError
from freehold.ids import new_id
from freehold.messages import Envelope, MessageKind, decode_envelope, encode_body, message_type
from freehold.messages.values import encode_checked
from freehold.transaction import trace_of

__all__ = [
    "HEADER_ATTEMPT",
    "HEADER_DIRECTION",
    "HEADER_OUTCOME",
    "HEADER_PREFIX",
    "HEADER_SAGA",
    "HEADER_STEP",
    "OUTCOME_CANCELLED",
    "OUTCOME_DONE",
    "OUTCOME_NO_EFFECT",
    "OUTCOME_REJECTED",
    "REPLY_TYPE",
    "REPLY_VERSION",
    "Rejected",
    "is_refusal",
    "make_reply",
    "outcome_of",
    "repeat_reply",
    "reply_to_result",
]

HEADER_PREFIX: Final = "freehold-"
"""Headers of a request with this prefix are copied to its reply."""
HEADER_SAGA: Final = "freehold-saga"
HEADER_STEP: Final = "freehold-step"
HEADER_ATTEMPT: Final = "freehold-attempt"
HEADER_DIRECTION: Final = "freehold-direction"
HEADER_OUTCOME: Final = "freehold-outcome"

OUTCOME_DONE: Final = "done"
"""The handler's effect is committed."""
OUTCOME_REJECTED: Final = "rejected"
"""The handler refused for a business reason; the body has `code` and `detail`."""
OUTCOME_CANCELLED: Final = "cancelled"
"""The compensation of this request came first; nothing was done, and nothing will be."""
OUTCOME_NO_EFFECT: Final = "no-effect"
"""A compensation found that its action was refused, or never handled: it changed nothing. An action that was never
handled is cancelled for good."""
_FORMER: Final = {"barred": OUTCOME_CANCELLED, "empty": OUTCOME_NO_EFFECT}
"""Outcomes in the words of before the first release: replies from then may still be in transit."""

REPLY_TYPE: Final = "freehold.reply"
"""The type of a reply whose handler returned no declared message."""
REPLY_VERSION: Final = 1


def outcome_of(headers: Mapping[str, str]) -> str:
    """Return the outcome in the headers of a reply. Raises `KeyError` where there is none."""
    outcome = headers[HEADER_OUTCOME]
    return _FORMER.get(outcome, outcome)


class Rejected(FreeholdError):
    """A refusal for a business reason (out of stock, card declined). It is a reply, not a failure, and never retried.

    A handler that returns it keeps its effects, and the refusal is the reply. If a handler raises it, the effects are
    rolled back, and the receipt and the reply are committed without them. `code` is a stable word for programs, and
    `detail` is for people; both travel in the reply, so neither may contain personal data.
    """

    __slots__ = ("_code", "_detail")

    def __init__(self, code: str, detail: str = "") -> None:
        super().__init__(f"{code}: {detail}" if detail else code)
        self._code = code
        self._detail = detail

    @property
    def code(self) -> str:
        """A stable word for programs: `out-of-stock`."""
        return self._code

    @property
    def detail(self) -> str:
        """A sentence for people."""
        return self._detail

    def __eq__(self, other: object) -> bool:
        """Two refusals are equal when their code and detail are."""
        return isinstance(other, Rejected) and (self.code, self.detail) == (other.code, other.detail)

    def __hash__(self) -> int:
        """Equal refusals have equal hashes."""
        return hash((self._code, self._detail))

    def __reduce__(self) -> tuple[type[Rejected], tuple[str, str]]:
        """Copy and pickle by code and detail."""
        return (Rejected, (self._code, self._detail))


def reply_to_result(context: ServiceContext, request: Envelope, result: object) -> Envelope:
    """Make the reply to a request from the result of its handler: a message, a plain dataclass, None, or `Rejected`.

    Raises `DeclarationError` for anything else, and `InvalidValue` for a value that cannot be encoded.
    """
    if isinstance(result, Rejected):
        body = encode_body({"code": result.code, "detail": result.detail})
        return make_reply(context, request, OUTCOME_REJECTED, body)
    if result is None:
        return make_reply(context, request, OUTCOME_DONE)
    if not dataclasses.is_dataclass(result) or isinstance(result, type):
        raise DeclarationError(
            f"the handler of '{request.type}' returned {type(result).__name__}",
            hint="return a dataclass, None, or Rejected(code)",
        )
    name, version = _declared(result)
    return make_reply(context, request, OUTCOME_DONE, encode_checked(result, of=name), name=name, version=version)


def make_reply(
    context: ServiceContext,
    request: Envelope,
    outcome: str,
    body: bytes = b"{}",
    *,
    name: str = REPLY_TYPE,
    version: int = REPLY_VERSION,
) -> Envelope:
    """Make the envelope of a reply. Raises `DeclarationError` for a request without `reply_to`."""
    if request.reply_to is None:
        raise DeclarationError(f"'{request.type}' asks for no reply", hint="check reply_to first")
    trace = trace_of(request)
    return Envelope(
        id=new_id(),
        type=name,
        version=version,
        kind=MessageKind.REPLY,
        source=context.service,
        topic=request.reply_to,
        key=request.key,
        time=context.clock.now(),
        hlc=context.hlc.tick(),
        correlation_id=request.correlation_id,
        causation_id=request.id,
        trace_parent=trace.parent if trace is not None else None,
        trace_state=trace.state if trace is not None else None,
        headers={**_copied_headers(request), HEADER_OUTCOME: outcome},
        body=body,
    )


def repeat_reply(context: ServiceContext, request: Envelope, document: bytes) -> Envelope:
    """Make a new envelope of the stored reply, for this attempt of the request."""
    stored, trace = decode_envelope(document), trace_of(request)
    return replace(
        stored,
        id=new_id(),
        topic=request.reply_to or stored.topic,
        time=context.clock.now(),
        hlc=context.hlc.tick(),
        causation_id=request.id,
        trace_parent=trace.parent if trace is not None else None,
        trace_state=trace.state if trace is not None else None,
        headers={
            **_copied_headers(request),
            HEADER_OUTCOME: outcome_of({HEADER_OUTCOME: OUTCOME_DONE, **stored.headers}),
        },
    )


def is_refusal(document: bytes | None) -> bool:
    """Whether a stored reply says that the request was refused. False for none, and for what is no envelope."""
    if document is None:
        return False
    try:
        return decode_envelope(document).headers.get(HEADER_OUTCOME) == OUTCOME_REJECTED
    except CodecError:
        return False


def _copied_headers(request: Envelope) -> Mapping[str, str]:
    return {name: value for name, value in request.headers.items() if name.startswith(HEADER_PREFIX)}


def _declared(result: Any) -> tuple[str, int]:
    try:
        declared = message_type(result)
    except DeclarationError:
        return REPLY_TYPE, REPLY_VERSION
    return declared.name, declared.version
