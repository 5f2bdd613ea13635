"""Runs a case on the event loop that services run on. Imports the standard library; Freehold and uvloop where they are.

It is the one that `freehold run` takes in the checkout that is measured. The peers and the work by hand have uvloop
too, where it is installed: a loop is no merit of a library.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from importlib import import_module
from importlib.util import find_spec
from typing import Any, TypeVar

__all__ = ["run"]

T = TypeVar("T")


def run(main: Coroutine[Any, Any, T]) -> T:
    """As `asyncio.run`, on that loop."""
    with asyncio.Runner(loop_factory=_factory()) as runner:
        return runner.run(main)


def _factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if find_spec("freehold") is not None:
        found: Callable[[], asyncio.AbstractEventLoop] | None = getattr(
            import_module("freehold.runtime"), "new_event_loop", None
        )
        return found
    if find_spec("uvloop") is None:
        return None
    made: Callable[[], asyncio.AbstractEventLoop] = import_module("uvloop").new_event_loop
    return made
