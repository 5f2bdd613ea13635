"""`freehold outbox`: messages that wait to be published, and `resend` for what a broker has lost. Face."""

from freehold.outbox.commands.group import command

__all__ = ["command"]
