"""`freehold saga`: instances, their journals, and operators' decisions. Face."""

from freehold.saga.commands.decisions import compensate, retry, skip, terminate
from freehold.saga.commands.group import command
from freehold.saga.commands.listing import diagram, list_, show

__all__ = ["command", "compensate", "diagram", "list_", "retry", "show", "skip", "terminate"]
