"""Where in the user's own code an error came from: file and line, never a value. Foundation: standard library only."""

from __future__ import annotations

import inspect
import sys
import sysconfig
import traceback
from functools import lru_cache
from pathlib import Path
from typing import Final

from freehold.errors import FreeholdError

__all__ = ["chain", "describe", "origin", "stack"]

_CHAIN_MAX: Final = 16
_FRAMES_MAX: Final = 20
_MEMBERS_MAX: Final = 5
_DEPTH_MAX: Final = 3
_STACK_CHARACTERS_MAX: Final = 8000
_LIBRARIES: Final = tuple(
    {str(Path(__file__).parent), *(sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib", "purelib"))}
)


def origin(error: BaseException, code: object = None) -> str:
    """Return `file:line` of the last frame that is neither Freehold's nor a library's, causes included.

    Without such a frame it is where `code` (the function or class that was at work) is defined, or else the last frame
    there is; empty where nothing is known. The file is told from its place on the import path on.
    """
    own, last = _frames(error)
    if own is not None:
        return _place(own)
    return _definition(code) or (_place(last) if last is not None else "")


def describe(error: BaseException) -> str:
    """Return what may be kept of an error: Freehold's own text, of others the class alone, for a text may hold content;
    and where in the user's own code it was raised.
    """
    own, last = _frames(error)
    if isinstance(error, FreeholdError):
        return f"{error}, at {_place(own)}" if own is not None else str(error)
    frame = own or last
    return type(error).__name__ if frame is None else f"{type(error).__name__} in {frame.name}, {_place(frame)}"


def stack(error: BaseException) -> str:
    """Return how an error came about, causes first: of each its frames with file, line, function and source line, and
    its class. What an error says is told of Freehold's own alone, for other texts may hold content. Frames of libraries
    are passed over where the user's own code is among them, but for the last; members of a group come after it. All of
    it is bounded.
    """
    told = "\nand because of that\n".join(_told(each, 0) for each in reversed(chain(error)))
    if len(told) <= _STACK_CHARACTERS_MAX:
        return told
    half = _STACK_CHARACTERS_MAX // 2
    return f"{told[:half]}\n  ...\n{told[-half:]}"


def _told(error: BaseException, depth: int) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if _is_own(frame.filename)]
    chosen = [*own, *(frames[-1:] if frames and frames[-1] not in own else [])] if own else list(frames)
    lines = [_frame(frame) for frame in chosen[-_FRAMES_MAX:]]
    if len(chosen) > _FRAMES_MAX:
        lines.insert(0, f"  ... {len(chosen) - _FRAMES_MAX} frames before")
    name = type(error).__name__
    lines.append(f"{name}: {error}" if isinstance(error, FreeholdError) else name)
    if isinstance(error, BaseExceptionGroup) and depth < _DEPTH_MAX:
        for number, each in enumerate(error.exceptions[:_MEMBERS_MAX], start=1):
            lines.append(f"of which {number}:")
            lines += (f"  {line}" for line in _told(each, depth + 1).splitlines())
    return "\n".join(lines)


def _frame(frame: traceback.FrameSummary) -> str:
    source = f"\n    {frame.line}" if frame.line else ""
    return f'  File "{_shown(frame.filename)}", line {frame.lineno}, in {frame.name}{source}'


def _frames(error: BaseException) -> tuple[traceback.FrameSummary | None, traceback.FrameSummary | None]:
    """The last frame of the user's own code, and the last one at all."""
    last = None
    for each in chain(error):
        frames = traceback.extract_tb(each.__traceback__)
        last = last or (frames[-1] if frames else None)
        own = [frame for frame in frames if _is_own(frame.filename)]
        if own:
            return own[-1], last
    return None, last


def _place(frame: traceback.FrameSummary) -> str:
    return f"{_shown(frame.filename)}:{frame.lineno}"


def chain(error: BaseException) -> list[BaseException]:
    """Return an error, and what it came of, the newest first."""
    found: list[BaseException] = []
    following: BaseException | None = error
    while following is not None and following not in found and len(found) < _CHAIN_MAX:
        found.append(following)
        following = following.__cause__ or following.__context__
    return found


def _definition(code: object) -> str:
    unwrapped = inspect.unwrap(code) if callable(code) else code
    compiled = getattr(unwrapped, "__code__", None)
    if compiled is not None:
        return f"{_shown(compiled.co_filename)}:{compiled.co_firstlineno}"
    if not isinstance(unwrapped, type):
        return ""
    try:
        return f"{_shown(inspect.getfile(unwrapped))}:{inspect.getsourcelines(unwrapped)[1]}"
    except (OSError, TypeError):
        return ""


def _is_own(filename: str) -> bool:
    return not filename.startswith(("<frozen", "<string")) and not filename.startswith(_LIBRARIES)


@lru_cache(maxsize=512)
def _shown(filename: str) -> str:
    """Without what differs from machine to machine, and may name its user."""
    roots = [root.rstrip("/") + "/" for root in sys.path if root and filename.startswith(root.rstrip("/") + "/")]
    return filename.removeprefix(max(roots, key=len)) if roots else filename.replace("\\", "/").rpartition("/")[2]
