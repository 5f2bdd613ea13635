"""`freehold dlq`: list, show, edit, replay and discard dead letters. Face.

`list` never shows payloads; `show` does. Every action is recorded with its reason.
"""

from freehold.deadletters.commands.actions import discard, replay
from freehold.deadletters.commands.editor import edit
from freehold.deadletters.commands.group import command
from freehold.deadletters.commands.queries import list_, show

__all__ = ["command", "discard", "edit", "list_", "replay", "show"]
