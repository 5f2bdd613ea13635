"""`freehold saga`: instances, their journals, and decisions of operators. Face."""

from freehold.saga.commands.decisions import compensate, retry, skip, terminate
from freehold.saga.commands.group import command
from freehold.saga.commands.queries import diagram, list_, show

__all__ = ["command", "compensate", "diagram", "list_", "retry", "show", "skip", "terminate"]
