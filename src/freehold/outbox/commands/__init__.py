"""`freehold outbox`: what waits to be published, and sending again what a broker has lost. Face."""

from freehold.outbox.commands.group import command

__all__ = ["command"]
