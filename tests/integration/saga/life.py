"""A life in a process of its own, which may kill itself in it."""

from __future__ import annotations

import asyncio
import os
import traceback
from collections.abc import Callable, Coroutine
from typing import Any


def live(main: Callable[[], Coroutine[Any, Any, None]]) -> int:
    """Lead a life in a process of its own; returns how it ended, as `subprocess` tells it."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            asyncio.run(main())
            code = 0
        except BaseException:  # noqa: BLE001 - what follows is its parent's
            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
