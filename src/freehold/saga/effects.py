"""Carrying out what the saga machine asks for within a transaction, and reading what is answered. Pattern.

Imports the inbox' words for answers and the transaction. Commands are staged, local functions and hooks run; calls are
left over for after the commit.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from freehold.errors import CodecError
from freehold.inbox.outcome import HEADER_ATTEMPT, HEADER_DIRECTION, HEADER_OUTCOME, HEADER_SAGA, HEADER_STEP, Rejected
from freehold.messages import Envelope
from freehold.saga.definition import SagaDefinition
from freehold.saga.exchange import Effect, LocalEnded, Outcome, Replied, RunCall, RunHook, RunLocal, SendCommand
from freehold.saga.instance import Instance
from freehold.saga.machine import advance
from freehold.saga.merging import make_command
from freehold.saga.steps import Direction
from freehold.saga.store import JournalEntry, SagaStatus
from freehold.transaction import Post, Transaction

__all__ = ["Turned", "carry_out", "read_reply"]


@dataclass(frozen=True, slots=True)
class Turned:
    """An instance after an input, with what is to be written of it, and the calls that are left to be made."""

    instance: Instance
    now: datetime
    entries: list[JournalEntry]
    calls: list[RunCall]


async def carry_out(
    tx: Transaction, post: Post, definition: SagaDefinition, turned: Turned, effects: Sequence[Effect]
) -> Turned:
    """Stage commands and run local functions, whose outcome may bring more effects."""
    queue = list(effects)
    while queue:
        effect = queue.pop(0)
        match effect:
            case SendCommand():
                _send(tx, post, definition, turned.instance, effect)
            case RunCall():
                turned.calls.append(effect)
            case RunLocal():
                ended = await _run_local(tx, definition, turned.instance, effect)
                step = advance(definition, turned.instance, ended, turned.now)
                turned = Turned(step.instance, turned.now, [*turned.entries, *step.entries], turned.calls)
                queue.extend(step.effects)
            case RunHook():
                state = await _run_hook(tx, definition, turned.instance, effect)
                turned = dataclasses.replace(turned, instance=dataclasses.replace(turned.instance, state=state))
    return turned


def read_reply(envelope: Envelope) -> tuple[UUID, Replied]:
    """The instance that a reply is for, and what it says. Raises `CodecError`."""
    headers = envelope.headers
    try:
        outcome = Outcome(headers[HEADER_OUTCOME])
        code = ""
        if outcome is Outcome.REJECTED:
            code = msgspec.json.decode(envelope.body, type=dict[str, Any]).get("code") or outcome.value
        reply = Replied(
            step=headers[HEADER_STEP],
            direction=Direction(headers[HEADER_DIRECTION]),
            attempt=int(headers[HEADER_ATTEMPT]),
            outcome=outcome,
            body=envelope.body,
            code=str(code),
        )
        return UUID(headers[HEADER_SAGA]), reply
    except (KeyError, ValueError, msgspec.MsgspecError) as error:
        raise CodecError(f"reply {envelope.id} cannot be read: {type(error).__name__}") from None


def _send(tx: Transaction, post: Post, definition: SagaDefinition, instance: Instance, effect: SendCommand) -> None:
    command = make_command(definition.by_name[effect.step], effect.direction, instance.state)
    envelope = post.envelope(
        command,
        cause=tx.cause,
        correlation_id=instance.correlation_id,
        headers={
            HEADER_SAGA: str(instance.id),
            HEADER_STEP: effect.step,
            HEADER_ATTEMPT: str(effect.attempt),
            HEADER_DIRECTION: effect.direction.value,
        },
    )
    key = instance.key if envelope.key == str(envelope.id) else envelope.key
    tx.stage(
        dataclasses.replace(
            envelope,
            key=key,
            reply_to=f"{post.service}.replies",
            idempotency_key=effect.idempotency_key,
            bars=effect.bars,
        )
    )


async def _run_local(tx: Transaction, definition: SagaDefinition, instance: Instance, effect: RunLocal) -> LocalEnded:
    step = definition.by_name[effect.step]
    function = step.action if effect.direction is Direction.ACTION else step.undo
    try:
        state = await function(instance.state, tx)
    except Rejected as refusal:
        return LocalEnded(effect.step, effect.direction, instance.state, refusal.code)
    return LocalEnded(effect.step, effect.direction, instance.state if state is None else state)


async def _run_hook(tx: Transaction, definition: SagaDefinition, instance: Instance, effect: RunHook) -> Any:
    hook = definition.on_completed if effect.status is SagaStatus.COMPLETED else definition.on_compensated
    if hook is None:
        return instance.state
    state = await hook(instance.state, tx)
    return instance.state if state is None else state
