"""A plugin of pytest that plants the bug named in the environment for all tests of the process."""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest
from tests.faults.planted.bug import planted
from tests.faults.planted.registry import BUGS
from tests.faults.planted.search import ENVIRONMENT

__all__ = ["pytest_runtestloop"]


@pytest.hookimpl(wrapper=True)
def pytest_runtestloop(session: pytest.Session) -> Generator[None, object, object]:
    """Plant it around all tests."""
    with planted(BUGS[os.environ[ENVIRONMENT]]) as patch:
        try:
            return (yield)
        finally:
            if not patch.uncalled:
                session.config.get_terminal_writer().line("planted and called")
