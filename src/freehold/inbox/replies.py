"""Making the answer to a request, and giving it again. Pattern: imports the foundation, the transaction, its own
package.

An answer is an envelope of kind REPLY on the request's `reply_to`. Its document is kept with the receipt; a duplicate
of the request gets the same answer in a message of its own, since the first answer may have been lost on its way.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from freehold.context import ServiceContext
from freehold.errors import DeclarationError
from freehold.ids import new_id
from freehold.inbox.outcome import (
    HEADER_OUTCOME,
    HEADER_PREFIX,
    OUTCOME_DONE,
    OUTCOME_REJECTED,
    REPLY_TYPE,
    REPLY_VERSION,
    Rejected,
    outcome_of,
)
from freehold.messages import Envelope, MessageKind, decode_envelope, encode_body, message_type
from freehold.messages.values import encode_checked

__all__ = ["make_reply", "repeat_reply", "reply_to_result"]


def reply_to_result(context: ServiceContext, request: Envelope, result: object) -> Envelope:
    """Answer a request with what its handler returned: a message, a plain dataclass, None, or `Rejected`.

    Raises `DeclarationError` for anything else, `InvalidValue` for a value that cannot travel.
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
    """Make the envelope of an answer. The request must name where answers go."""
    if request.reply_to is None:
        raise DeclarationError(f"'{request.type}' asks for no answer", hint="check reply_to first")
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
        trace_parent=request.trace_parent,
        headers={**_place(request), HEADER_OUTCOME: outcome},
        body=body,
    )


def repeat_reply(context: ServiceContext, request: Envelope, document: bytes) -> Envelope:
    """Make the stored answer again, as an answer to this attempt of the request."""
    stored = decode_envelope(document)
    return replace(
        stored,
        id=new_id(),
        topic=request.reply_to or stored.topic,
        time=context.clock.now(),
        hlc=context.hlc.tick(),
        causation_id=request.id,
        trace_parent=request.trace_parent,
        headers={**_place(request), HEADER_OUTCOME: outcome_of({HEADER_OUTCOME: OUTCOME_DONE, **stored.headers})},
    )


def _place(request: Envelope) -> Mapping[str, str]:
    return {name: value for name, value in request.headers.items() if name.startswith(HEADER_PREFIX)}


def _declared(result: Any) -> tuple[str, int]:
    try:
        declared = message_type(result)
    except DeclarationError:
        return REPLY_TYPE, REPLY_VERSION
    return declared.name, declared.version
