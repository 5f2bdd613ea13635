"""`freehold projection`: show, rebuild and repair read models, retry parked streams, replay events. Face."""

from freehold.projection.commands.actions import pause, resume, retry, skip
from freehold.projection.commands.group import command
from freehold.projection.commands.queries import list_, parked, show
from freehold.projection.commands.rebuilds import cancel_rebuild, drop, rebuild, rebuild_key, switch
from freehold.projection.commands.replays import replay
from freehold.projection.commands.views import refresh

__all__ = [
    "cancel_rebuild",
    "command",
    "drop",
    "list_",
    "parked",
    "pause",
    "rebuild",
    "rebuild_key",
    "refresh",
    "replay",
    "resume",
    "retry",
    "show",
    "skip",
    "switch",
]
