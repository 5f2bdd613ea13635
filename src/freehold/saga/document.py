"""The `document` of a saga's row: an instance as versioned JSON. Pattern: imports the codec and plain data.

What the row has in columns of its own (definition, key, failure) is not repeated. Fields that hold their default are
left out. A document whose format this release does not know is refused.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import msgspec

from freehold.errors import CodecError, InvalidValue
from freehold.messages.codec import UNENCODABLE, UNREADABLE, decoder_of, encoder
from freehold.messages.texts import check_name
from freehold.messages.values import encode_checked
from freehold.saga.definition import SagaDefinition
from freehold.saga.hooks import Hook, HookFailure
from freehold.saga.instance import Instance, Phase, StepProgress, Unmerged, WaitReason
from freehold.saga.store import SagaRecord, SagaStatus

__all__ = [
    "DOCUMENT_FORMAT",
    "NewerFormat",
    "check_state",
    "read_hook_failure",
    "read_instance",
    "read_progress",
    "write_record",
]

DOCUMENT_FORMAT: Final = 3
"""Increased when the layout changes. A release reads its own format and the one before. The upgrade to the first
release rewrites documents of earlier formats in this one."""
_ATTENTION_FROM: Final = 8
"""Number of failed saves after which releases before the first one set `needs-attention`."""


class NewerFormat(CodecError):
    """A later release wrote the document: only a process that runs that release can read it."""


class _Step(msgspec.Struct, omit_defaults=True):
    phase: Phase = Phase.PENDING
    wait_reason: WaitReason = WaitReason.NOTHING
    attempt: int = 0
    policy_attempts: int = 0
    round_start: int = 0
    action_round: int = 0
    compensation_round: int = 0
    wait_until: datetime | None = None
    rejected: bool = False


class _Document(msgspec.Struct, omit_defaults=True):
    format: int
    machine_status: SagaStatus
    state: msgspec.Raw
    steps: dict[str, _Step]
    deadline: datetime | None = None
    due: datetime | None = None
    save_failures: int = 0
    pending_continuation: bool = msgspec.field(name="unsettled", default=False)
    unmerged: tuple[Unmerged, ...] = ()
    unmerged_failure: bool = msgspec.field(name="untold", default=False)
    started_attempts: int = 0
    hookless: bool = False
    hook_failure: HookFailure | None = None


_decoder = msgspec.json.Decoder(_Document)
_FIELDS: Final = _Step.__struct_fields__
_KEPT: Final = ("pending_continuation", "unmerged", "unmerged_failure", "started_attempts", "hookless", "hook_failure")


def write_record(instance: Instance, version: int, now: datetime, state_type: type[Any] | None = None) -> SagaRecord:
    """Return the row of an instance. `version` is the one it was loaded with, 1 for a new one.

    Raises `InvalidValue` for a state that is not a `state_type` (None: any class), or that does not fit its own
    annotations: it could not be read again.
    """
    of = f"{instance.definition} {instance.id}"
    _check_class(instance.state, state_type, of)
    state = _encode_state(instance.state, of)
    document = encoder.encode(
        _Document(
            format=DOCUMENT_FORMAT,
            machine_status=instance.machine_status,
            state=msgspec.Raw(state),
            steps={
                name: _Step(**{field: getattr(progress, field) for field in _FIELDS})
                for name, progress in instance.steps.items()
            },
            deadline=instance.deadline,
            due=instance.due,
            **{name: getattr(instance, name) for name in _KEPT},
        )
    )
    return SagaRecord(
        id=instance.id,
        definition=instance.definition,
        definition_version=instance.definition_version,
        key=instance.key,
        correlation_id=instance.correlation_id,
        status=instance.status,
        version=version,
        document=document,
        failure=instance.failure,
        due_seconds=None if instance.due is None else max(0.0, (instance.due - now).total_seconds()),
    )


def check_state(definition: SagaDefinition, state: object) -> None:
    """Raise `InvalidValue` where a new instance cannot have this state: it does not fit its class, or has no valid key.

    Only new instances are checked so strictly. A running one may hold any state that can be read again, for example a
    text that came with a reply.
    """
    _check_class(state, definition.state_type, definition.name)
    check_name(definition.key, str(getattr(state, definition.key)), of=definition.name)
    encode_checked(state, of=definition.name)


def _check_class(state: object, state_type: type[Any] | None, of: str) -> None:
    if state_type is not None and type(state) is not state_type:
        reason = f"must be {state_type.__name__}, and is {type(state).__name__}"
        raise InvalidValue("state", reason, of=f"'{of}'")


def _encode_state(state: object, of: str) -> bytes:
    try:
        return encode_checked(state, of=of)
    except InvalidValue as error:
        encoded = _read_again(state)
        if encoded is None:
            raise error from None
        return encoded


def _read_again(state: object) -> bytes | None:
    """Encode a state that failed the check, if decoding it gives an equal state: such an instance need not stop. None
    otherwise.
    """
    try:
        encoded = encoder.encode(state)
        same: bool = decoder_of(type(state)).decode(encoded) == state
    except (*UNENCODABLE, *UNREADABLE, ArithmeticError):
        return None
    return encoded if same else None


def read_instance(record: SagaRecord, definition: SagaDefinition) -> Instance:
    """Return the instance of a row. Raises `CodecError` where it does not fit the definition."""
    document = _read(record)
    if document.steps.keys() != definition.by_name.keys():
        raise CodecError(
            f"saga {record.id} was started with other steps than '{definition.name}' version {definition.version} has",
            hint="give the changed saga the next version, and keep the old class until its instances have ended",
        )
    try:
        state: Any = msgspec.json.decode(document.state, type=definition.state_type)
    except (msgspec.MsgspecError, NameError) as error:
        raise CodecError(
            f"the state of saga {record.id} does not fit {definition.state_type.__name__}: {type(error).__name__}",
            hint="give new fields a default, or give the changed saga the next version",
        ) from None
    return Instance(
        id=record.id,
        definition=record.definition,
        definition_version=record.definition_version,
        key=record.key,
        correlation_id=record.correlation_id,
        machine_status=document.machine_status,
        state=state,
        steps=_progress(document),
        failure=record.failure,
        deadline=document.deadline,
        due=document.due,
        pending_continuation=document.pending_continuation,
        unmerged=document.unmerged,
        unmerged_failure=document.unmerged_failure,
        started_attempts=document.started_attempts,
        hookless=document.hookless,
        hook_failure=_hook_failure(document),
    )


def read_progress(record: SagaRecord) -> dict[str, StepProgress]:
    """Return the progress of each step of a row. Needs no definition, so that operators can see it anywhere."""
    return _progress(_read(record))


def read_hook_failure(record: SagaRecord) -> HookFailure | None:
    """Return the failing hook of a row, None where none fails. Needs no definition, as `read_progress`."""
    return _hook_failure(_read(record))


def _hook_failure(document: _Document) -> HookFailure | None:
    """The failing hook. Releases before the first one only counted failed saves, which happened when `due` was."""
    if document.hook_failure is not None or not document.save_failures or document.due is None:
        return document.hook_failure
    return HookFailure(
        step="",
        hook=Hook.COMMIT,
        error="Exception",
        place="",
        failures=document.save_failures,
        since=document.due,
        wait_until=document.due,
        attention=document.save_failures >= _ATTENTION_FROM,
    )


def _read(record: SagaRecord) -> _Document:
    try:
        document = _decoder.decode(record.document)
    except msgspec.MsgspecError as error:
        raise CodecError(f"the document of saga {record.id} cannot be read: {type(error).__name__}") from None
    if document.format != DOCUMENT_FORMAT:
        raise NewerFormat(
            f"the document of saga {record.id} has format {document.format}, and this release knows {DOCUMENT_FORMAT}",
            hint="run the release that wrote it, or a later one",
        )
    return document


def _progress(document: _Document) -> dict[str, StepProgress]:
    return {
        name: StepProgress(**{field: getattr(step, field) for field in _FIELDS})
        for name, step in document.steps.items()
    }
