"""Messages: declared events and commands, upcasters of old versions, the CloudEvents envelope, and the JSON codec."""

from freehold.messages.codec import decode_body, decode_envelope, encode_body, encode_envelope
from freehold.messages.declaration import MessageKind, MessageType, Registry, command, event, message_type, registry
from freehold.messages.envelope import Envelope, restarted_trace
from freehold.messages.upcast import (
    Upcast,
    Upcaster,
    Upcasters,
    check_upcasters,
    decode_upcast,
    read_event,
    upcaster,
    upcasters,
)

__all__ = [
    "Envelope",
    "MessageKind",
    "MessageType",
    "Registry",
    "Upcast",
    "Upcaster",
    "Upcasters",
    "check_upcasters",
    "command",
    "decode_body",
    "decode_envelope",
    "decode_upcast",
    "encode_body",
    "encode_envelope",
    "event",
    "message_type",
    "read_event",
    "registry",
    "restarted_trace",
    "upcaster",
    "upcasters",
]
