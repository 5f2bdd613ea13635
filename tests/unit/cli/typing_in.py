"""Types commands into the command line, in this process."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from freehold.cli.main import main

__all__ = ["Answer", "Typed", "typist"]


@dataclass(frozen=True, slots=True)
class Answer:
    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """Standard output, which must be one JSON document."""
        return json.loads(self.out)


Typed = Callable[..., Answer]


def typist(capsys: pytest.CaptureFixture[str]) -> Typed:
    def typed(*arguments: object) -> Answer:
        capsys.readouterr()
        with pytest.raises(SystemExit) as leaving:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert isinstance(leaving.value.code, int)
        return Answer(leaving.value.code, out, err)

    return typed
