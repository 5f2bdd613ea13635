"""`freehold dlq`: dead letters, to be understood, edited, replayed or dropped. Face.

A list never shows payloads; `show` does, because that is what it is for. Every action is recorded with its reason.
"""

from freehold.cli.dlq.acting import drop, replay
from freehold.cli.dlq.editing import edit
from freehold.cli.dlq.group import command
from freehold.cli.dlq.reading import list_, show

__all__ = ["command", "drop", "edit", "list_", "replay", "show"]
