"""The effects of the saga machine inside a transaction, and the decoder of replies. Pattern.

Imports the inbox' reply headers and the transaction. Commands are staged, local functions and hooks run; calls are
returned, to be made after the commit.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec

from freehold.context import ServiceContext
from freehold.crash_points import crash_point
from freehold.errors import CodecError
from freehold.inbox.reply import HEADER_ATTEMPT, HEADER_DIRECTION, HEADER_SAGA, HEADER_STEP, Rejected, outcome_of
from freehold.messages import Envelope
from freehold.saga.definition import SagaDefinition
from freehold.saga.exchange import Effect, LocalEnded, Outcome, Replied, RunCall, RunHook, RunLocal, SendCommand
from freehold.saga.handover import Handover
from freehold.saga.hooks import Hook, HookAt, calling
from freehold.saga.instance import Instance
from freehold.saga.machine import advance
from freehold.saga.message_mapper import make_command
from freehold.saga.steps import StepDirection
from freehold.saga.store import JournalEntry, SagaStatus
from freehold.saga.transition import Transition
from freehold.tasks import contained
from freehold.transaction import EnvelopeFactory, Transaction

__all__ = ["TransitionResult", "carry_out", "log_failure", "read_reply"]

_log = logging.getLogger("freehold.saga")

_UNKNOWN: Final = HookAt("", Hook.STATE)


@dataclass(frozen=True, slots=True)
class TransitionResult:
    """An instance after an input, the journal entries to write, and the calls to make after the commit.

    made_by  the hook that made the present state, where it is known: the error names it if the state cannot be stored.
    """

    instance: Instance
    now: datetime
    entries: list[JournalEntry]
    calls: list[RunCall]
    made_by: HookAt = _UNKNOWN


async def carry_out(
    tx: Transaction,
    context: ServiceContext,
    definition: SagaDefinition,
    result: TransitionResult,
    effects: Sequence[Effect],
    handover: Handover,
) -> TransitionResult:
    """Stage commands, and run local functions and hooks; the outcome of a local function may add effects. Its calls
    take places of `handover`, as those of `effects` have done.
    """
    queue = list(effects)
    while queue:
        effect = queue.pop(0)
        match effect:
            case SendCommand():
                crash_point("saga.before-command")
                _send(tx, context, definition, result.instance, effect)
                crash_point("saga.command-staged")
            case RunCall():
                result.calls.append(effect)
            case RunLocal():
                at = _local_at(definition, effect)
                crash_point("saga.before-local-step")
                ended = await _run_local(tx, at, result.instance, effect)
                crash_point("saga.local-step-ended")
                step = advance(definition, result.instance, ended, result.now, places=handover.free)
                handover.take(step.effects)
                result = TransitionResult(step.instance, result.now, [*result.entries, *step.entries], result.calls, at)
                queue.extend(step.effects)
            case RunHook():
                at = _hook_at(definition, effect)
                crash_point("saga.before-hook")
                state = await _run_hook(tx, at, result.instance)
                crash_point("saga.hook-ended")
                result = dataclasses.replace(
                    result, instance=dataclasses.replace(result.instance, state=state), made_by=at
                )
    return result


def read_reply(envelope: Envelope) -> tuple[UUID, Replied]:
    """Decode a reply: the id of its instance, and the input for the machine. Raises `CodecError`."""
    headers = envelope.headers
    try:
        outcome = Outcome(outcome_of(headers))
        code = ""
        if outcome is Outcome.REJECTED:
            code = msgspec.json.decode(envelope.body, type=dict[str, Any]).get("code") or outcome.value
        reply = Replied(
            step=headers[HEADER_STEP],
            direction=_direction(headers[HEADER_DIRECTION]),
            attempt=int(headers[HEADER_ATTEMPT]),
            outcome=outcome,
            body=envelope.body,
            code=str(code),
        )
        return UUID(headers[HEADER_SAGA]), reply
    except (KeyError, ValueError, msgspec.MsgspecError) as error:
        raise CodecError(f"reply {envelope.id} cannot be read: {type(error).__name__}") from None


def _direction(word: str) -> StepDirection:
    """Read a direction. Commands of releases before the first one have `undo`, and so have the replies to them."""
    return StepDirection.COMPENSATION if word == "undo" else StepDirection(word)


def _send(
    tx: Transaction, context: ServiceContext, definition: SagaDefinition, instance: Instance, effect: SendCommand
) -> None:
    step = definition.by_name[effect.step]
    action = effect.direction is StepDirection.ACTION
    code = (step.make or step.action) if action else (step.make_compensation or step.compensation)
    with calling(effect.step, Hook.MAKE if action else Hook.MAKE_COMPENSATION, code):
        envelope = EnvelopeFactory(context).envelope(
            make_command(step, effect.direction, instance.state),
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
    tx.staging.stage(
        dataclasses.replace(
            envelope,
            key=key,
            reply_to=f"{context.service}.replies",
            idempotency_key=effect.idempotency_key,
            compensates=effect.compensates,
        )
    )


def _local_at(definition: SagaDefinition, effect: RunLocal) -> HookAt:
    step = definition.by_name[effect.step]
    if effect.direction is StepDirection.ACTION:
        return HookAt(effect.step, Hook.ACTION, step.action)
    return HookAt(effect.step, Hook.COMPENSATION, step.compensation)


async def _run_local(tx: Transaction, at: HookAt, instance: Instance, effect: RunLocal) -> LocalEnded:
    function: Any = at.code
    try:
        with calling(at.step, at.hook, function), contained():
            state = await function(instance.state, tx)
    except Rejected as refusal:
        return LocalEnded(effect.step, effect.direction, instance.state, refusal.code)
    return LocalEnded(effect.step, effect.direction, instance.state if state is None else state)


def _hook_at(definition: SagaDefinition, effect: RunHook) -> HookAt:
    if effect.status is SagaStatus.COMPLETED:
        return HookAt("", Hook.ON_COMPLETED, definition.on_completed)
    return HookAt("", Hook.ON_COMPENSATED, definition.on_compensated)


async def _run_hook(tx: Transaction, at: HookAt, instance: Instance) -> Any:
    hook: Any = at.code
    if hook is None:
        return instance.state
    with calling(at.step, at.hook, hook), contained():
        state = await hook(instance.state, tx)
    return instance.state if state is None else state


def log_failure(service: str, failed: Transition) -> None:
    """Log which hook fails: class, file and line, without the error's text. Logged only if the journal got an entry."""
    instance, failing = failed.instance, failed.instance.hook_failure
    if failing is None or not failed.entries:
        return
    level = logging.ERROR if failing.attention else logging.WARNING
    follows = (
        "it waits for an operator" if failing.wait_until is None else f"retry at {failing.wait_until:%H:%M:%S} UTC"
    )
    _log.log(
        level,
        "%s: saga %s of %s: %s (failed %d times); %s",
        service,
        instance.id,
        instance.definition,
        failing,
        failing.failures,
        follows,
    )
