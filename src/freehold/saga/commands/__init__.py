"""`freehold saga`: instances, their story, and people's decisions. Face."""

from freehold.saga.commands.decisions import abandon, compensate, retry, skip
from freehold.saga.commands.group import command
from freehold.saga.commands.listing import diagram, list_, show

__all__ = ["abandon", "command", "compensate", "diagram", "list_", "retry", "show", "skip"]
