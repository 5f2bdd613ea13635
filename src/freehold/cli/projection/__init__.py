"""`freehold projection`: how read models stand, rebuilding them, taking parked streams up, replaying history. Face."""

from freehold.cli.projection.group import command
from freehold.cli.projection.reading import list_, parked, show
from freehold.cli.projection.rebuilding import abandon, drop, rebuild, rebuild_key, switch
from freehold.cli.projection.refreshing import refresh
from freehold.cli.projection.replaying import replay
from freehold.cli.projection.standing import pause, resume, retry, skip

__all__ = [
    "abandon",
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
