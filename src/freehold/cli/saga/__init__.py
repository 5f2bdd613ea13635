"""`freehold saga`: instances, their story, and people's decisions. Face."""

from freehold.cli.saga.deciding import abandon, compensate, retry, skip
from freehold.cli.saga.group import command
from freehold.cli.saga.reading import diagram, list_, show

__all__ = ["abandon", "command", "compensate", "diagram", "list_", "retry", "show", "skip"]
