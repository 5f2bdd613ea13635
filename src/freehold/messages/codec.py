"""The JSON codec of bodies and envelopes (msgspec). Imports the foundation only.

An envelope is sent as one JSON document in CloudEvents' structured mode. Its body is embedded as raw JSON: encoding and
decoding an envelope does not parse the body. A body that does not fit its class is a `CodecError`, which names the path
and the expected type, and never contains values.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec

from freehold.errors import CodecError
from freehold.messages.declaration import VERSION_MAX, MessageKind, MessageType
from freehold.messages.envelope import Envelope
from freehold.messages.lanes import LANE, POSITION_DIGITS_MAX
from freehold.messages.texts import NAME_BYTES_MAX

__all__ = [
    "BODY_BYTES_MAX",
    "UNENCODABLE",
    "UNREADABLE",
    "decode_body",
    "decode_envelope",
    "decoder_of",
    "encode_body",
    "encode_envelope",
    "encoder",
    "misfit_of",
]

BODY_BYTES_MAX: Final = 512 * 1024
"""Maximum size of a body. Store a larger payload elsewhere, and send a reference to it."""


TOKEN_CHARACTERS_MAX: Final = 16 * 1024
"""Maximum length of a consistency token's text: enough for some hundred lanes."""

_TOKEN = re.compile(r"[a-z][a-z0-9-]*(?:/[0-9]+)?=[0-9]{1,18}(?:;[a-z][a-z0-9-]*(?:/[0-9]+)?=[0-9]{1,18}){0,511}")
UNENCODABLE: Final = (TypeError, ValueError, OverflowError, RecursionError)
"""What the encoder raises for a value that it cannot encode."""

UNREADABLE: Final = (msgspec.MsgspecError, ValueError, RecursionError)
"""What a decoder raises for JSON that does not fit."""

encoder: Final = msgspec.json.Encoder(decimal_format="string", uuid_format="canonical", order=None)
_decoders: dict[type[Any], msgspec.json.Decoder[Any]] = {}
_KINDS: Final = {kind.value: kind for kind in MessageKind}
_STAMP_DIGITS_MAX: Final = 19
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


class _Wire(msgspec.Struct, omit_defaults=True):
    """The CloudEvents attributes, by their names in the document."""

    id: UUID
    source: str
    type: str
    time: datetime
    schemaversion: int
    kind: str
    topic: str
    partitionkey: str
    hlc: str
    correlationid: UUID
    data: msgspec.Raw
    specversion: str = ""
    datacontenttype: str = "application/json"
    causationid: UUID | None = None
    subject: str | None = None
    traceparent: str | None = None
    tracestate: str | None = None
    replyto: str | None = None
    idempotencykey: str | None = None
    compensates: str | None = None
    consistencytoken: str | None = None
    lane: str | None = None
    sequence: str | None = None
    watermark: str | None = None
    headers: dict[str, str] = {}


class _Received(_Wire):
    """The attributes that are read. `compensates` was called `bars` before the first release, and is not written so."""

    bars: str | None = None


_wire_decoder = msgspec.json.Decoder(_Received)


def encode_body(message: object) -> bytes:
    """Return the message as JSON. Raises `CodecError` for a value that cannot be encoded or is too large."""
    try:
        body = encoder.encode(message)
    except UNENCODABLE as error:
        raise CodecError(f"{type(message).__name__} cannot be encoded: {_without_content(error)}") from None
    if len(body) > BODY_BYTES_MAX:
        raise CodecError(
            f"{type(message).__name__} is {len(body)} bytes, more than {BODY_BYTES_MAX}",
            hint="store the payload and send a reference to it",
        )
    return body


def decode_body(body: bytes, declared: MessageType) -> Any:
    """Return the message as an instance of its class; unknown fields are ignored. Raises `CodecError`, which names the
    path.
    """
    try:
        return decoder_of(declared.cls).decode(body)
    except UNREADABLE as error:
        raise CodecError(
            f"the body of '{declared.name}' version {declared.version} does not fit {declared.cls.__name__}:"
            f" {_without_content(error)}"
        ) from None


def decoder_of(cls: type[Any]) -> msgspec.json.Decoder[Any]:
    """Return the decoder of a class; the same one each time."""
    decoder = _decoders.get(cls)
    if decoder is None:
        decoder = _decoders[cls] = msgspec.json.Decoder(cls)
    return decoder


def encode_envelope(envelope: Envelope) -> bytes:
    """Return the CloudEvents document of an envelope. Raises `CodecError` for an attribute that cannot be stored."""
    _check_attributes(envelope)
    return encoder.encode(
        _Wire(
            specversion="1.0",
            id=envelope.id,
            source=envelope.source,
            type=envelope.type,
            time=envelope.time,
            schemaversion=envelope.version,
            kind=envelope.kind.value,
            topic=envelope.topic,
            partitionkey=envelope.key,
            hlc=str(envelope.hlc),
            correlationid=envelope.correlation_id,
            causationid=envelope.causation_id,
            subject=envelope.subject,
            traceparent=envelope.trace_parent,
            tracestate=envelope.trace_state,
            replyto=envelope.reply_to,
            idempotencykey=envelope.idempotency_key,
            compensates=envelope.compensates,
            consistencytoken=envelope.token,
            lane=envelope.lane,
            sequence=None if envelope.position is None else str(envelope.position),
            watermark=None if envelope.watermark is None else str(envelope.watermark),
            headers=dict(envelope.headers),
            data=msgspec.Raw(envelope.body),
        )
    )


def decode_envelope(document: bytes) -> Envelope:
    """Decode a CloudEvents document. Raises `CodecError` where it is not one, or an attribute is missing or cannot be
    stored.
    """
    try:
        wire = _wire_decoder.decode(document)
        kind, hlc = _KINDS.get(wire.kind) or MessageKind(wire.kind), _stamp(wire.hlc)
        if not 0 <= wire.schemaversion <= VERSION_MAX:
            raise ValueError("schemaversion is out of range")
        position, watermark = _number(wire.sequence), _number(wire.watermark)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise CodecError(f"not an envelope: {_without_content(error)}") from None
    envelope = Envelope(
        id=wire.id,
        type=wire.type,
        version=wire.schemaversion,
        kind=kind,
        source=wire.source,
        topic=wire.topic,
        key=wire.partitionkey,
        time=wire.time,
        hlc=hlc,
        correlation_id=wire.correlationid,
        causation_id=wire.causationid,
        subject=wire.subject,
        trace_parent=wire.traceparent,
        trace_state=wire.tracestate,
        reply_to=wire.replyto,
        idempotency_key=wire.idempotencykey,
        compensates=wire.compensates or wire.bars,
        token=wire.consistencytoken,
        lane=wire.lane,
        position=position,
        watermark=watermark,
        headers=wire.headers,
        body=bytes(wire.data),
    )
    _check_attributes(envelope)
    _check_lane_and_token(envelope)
    return envelope


def _stamp(text: str) -> int:
    """Decode a hybrid-logical-clock stamp, which databases store in 64 bits."""
    if len(text) > _STAMP_DIGITS_MAX or not (text.isascii() and text.isdigit()) or (stamp := int(text)) >= 2**63:
        raise ValueError("hlc must be a number within 64 bits")
    return stamp


def _number(text: str | None) -> int | None:
    """Decode a position of ASCII digits; `int` alone would accept other texts."""
    if text is None:
        return None
    if len(text) > POSITION_DIGITS_MAX or not (text.isascii() and text.isdigit()):
        raise ValueError("sequence and watermark must be numbers of at most 18 digits")
    return int(text)


def _check_lane_and_token(envelope: Envelope) -> None:
    """Refuse attributes with which every attempt of the handler's transaction would fail."""
    if envelope.lane is not None and LANE.fullmatch(envelope.lane) is None:
        raise CodecError("the envelope's attribute 'lane' is not the name of a lane", hint="service/partition")
    if envelope.lane is None and (envelope.position is not None or envelope.watermark is not None):
        raise CodecError("the envelope has a position or a watermark, but no lane")
    token = envelope.token
    if token and (len(token) > TOKEN_CHARACTERS_MAX or _TOKEN.fullmatch(token) is None):
        raise CodecError("the envelope's attribute 'consistencytoken' cannot be read", hint="pass it on unchanged")


def _check_attributes(envelope: Envelope) -> None:
    """Refuse texts that some database or broker cannot store. A received message with such a text must become a dead
    letter at once, because it could never be stored.
    """
    if _plainly_storable(envelope):
        return
    required = {"type": envelope.type, "source": envelope.source, "topic": envelope.topic, "partitionkey": envelope.key}
    optional = {
        "subject": envelope.subject,
        "traceparent": envelope.trace_parent,
        "tracestate": envelope.trace_state,
        "replyto": envelope.reply_to,
        "idempotencykey": envelope.idempotency_key,
        "compensates": envelope.compensates,
    }
    for name, text in required.items():
        if not text:
            raise CodecError(f"the envelope's attribute '{name}' is empty")
    for name, given in (required | optional).items():
        _check_text(name, given or "", NAME_BYTES_MAX)
    for header, text in envelope.headers.items():
        _check_text("headers", header, NAME_BYTES_MAX)
        _check_text("headers", text, BODY_BYTES_MAX)


def _plainly_storable(envelope: Envelope) -> bool:
    """Check all attributes at once. Nearly every envelope has short ASCII texts, which need no separate checks."""
    texts = (
        envelope.type,
        envelope.source,
        envelope.topic,
        envelope.key,
        envelope.subject or "",
        envelope.trace_parent or "",
        envelope.trace_state or "",
        envelope.reply_to or "",
        envelope.idempotency_key or "",
        envelope.compensates or "",
        *envelope.headers,
        *envelope.headers.values(),
    )
    joined = "".join(texts)
    return all(texts[:4]) and len(joined) <= NAME_BYTES_MAX and joined.isascii() and joined.isprintable()


def _check_text(name: str, text: str, bytes_max: int) -> None:
    if _CONTROL.search(text):
        raise CodecError(f"the envelope's attribute '{name}' has a control character", hint="send printable text")
    if len(text) > bytes_max or len(text.encode()) > bytes_max:
        raise CodecError(f"the envelope's attribute '{name}' is longer than {bytes_max} bytes", hint="send a digest")


def misfit_of(error: Exception) -> tuple[str, str]:
    """Return the path of the field that a decoder refused, and the reason, without values."""
    wanted, _, path = str(error).rpartition(" - at `")
    return path.rstrip("`").removeprefix("$").lstrip("."), f"does not fit: {_QUOTED.sub('…', wanted or str(error))}"


def _without_content(error: Exception) -> str:
    """Return the error's text without quoted values, which may be personal data; a JSON path is not."""
    text = str(error)
    path = text.rpartition(" - at `")
    if path[1]:
        return f"{_QUOTED.sub('…', path[0])} at {path[2].rstrip('`')}"
    return _QUOTED.sub("…", text)
