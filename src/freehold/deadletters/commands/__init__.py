"""`freehold dlq`: dead letters, to be understood, edited, replayed or discarded. Face.

A list never shows payloads; `show` does, because that is what it is for. Every action is recorded with its reason.
"""

from freehold.deadletters.commands.actions import discard, replay
from freehold.deadletters.commands.editor import edit
from freehold.deadletters.commands.group import command
from freehold.deadletters.commands.queries import list_, show

__all__ = ["command", "discard", "edit", "list_", "replay", "show"]
