"""Messages: declaring events and commands, the CloudEvents envelope, and its JSON codec."""

from freehold.messages.codec import decode_body, decode_envelope, encode_body, encode_envelope
from freehold.messages.declaration import MessageKind, MessageType, Registry, command, event, message_type, registry
from freehold.messages.envelope import Envelope

__all__ = [
    "Envelope",
    "MessageKind",
    "MessageType",
    "Registry",
    "command",
    "decode_body",
    "decode_envelope",
    "encode_body",
    "encode_envelope",
    "event",
    "message_type",
    "registry",
]
