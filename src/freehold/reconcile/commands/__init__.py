"""`freehold reconcile` and `freehold monitor`: compare replicas with their sources, and their lag. Face."""

from freehold.reconcile.commands.comparison import command
from freehold.reconcile.commands.monitor import command as monitor

__all__ = ["command", "monitor"]
