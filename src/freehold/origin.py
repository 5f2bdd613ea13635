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

    If there is no such frame: the place where `code` (the function or class that ran) is defined, or else the last
    frame of all; empty if there is none. The file is named relative to its place on the import path.
    """
    own, last = _frames(error)
    if own is not None:
        return _place(own)
    return _definition(code) or (_place(last) if last is not None else "")


def describe(error: BaseException) -> str:
    """Describe an error without values: the text of Freehold's own errors, only the class of others, whose text may
    contain values; and where in the user's own code it was raised.
    """
    own, last = _frames(error)
    if isinstance(error, FreeholdError):
        return f"{error}, at {_place(own)}" if own is not None else str(error)
    frame = own or last
    return type(error).__name__ if frame is None else f"{type(error).__name__} in {frame.name}, {_place(frame)}"


def stack(error: BaseException) -> str:
    """Return the traceback of an error without values, causes first: for each error its frames with file, line,
    function and source line, and its class. Only Freehold's own errors are shown with their text: other texts may
    contain values. If the user's own code is among the frames, those of libraries are left out, except the last.
    Members of a group follow the group. The length is limited.
    """
    text = "\nand because of that\n".join(_traceback(each, 0) for each in reversed(chain(error)))
    if len(text) <= _STACK_CHARACTERS_MAX:
        return text
    half = _STACK_CHARACTERS_MAX // 2
    return f"{text[:half]}\n  ...\n{text[-half:]}"


def _traceback(error: BaseException, depth: int) -> str:
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
            lines += (f"  {line}" for line in _traceback(each, depth + 1).splitlines())
    return "\n".join(lines)


def _frame(frame: traceback.FrameSummary) -> str:
    source = f"\n    {frame.line}" if frame.line else ""
    return f'  File "{_shown(frame.filename)}", line {frame.lineno}, in {frame.name}{source}'


def _frames(error: BaseException) -> tuple[traceback.FrameSummary | None, traceback.FrameSummary | None]:
    """The last frame of the user's own code, and the last one of all."""
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
    """Return an error and its causes, the error first."""
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
    # A compiled module, such as a driver's, is named relative to where it was built: "asyncmy/errors.pyx".
    if filename.startswith(("<frozen", "<string")) or filename.endswith((".pyx", ".pxd", ".pxi")):
        return False
    return not filename.startswith(_LIBRARIES)


@lru_cache(maxsize=512)
def _shown(filename: str) -> str:
    """The file's path without its root, which differs between machines and may contain a user's name."""
    roots = [root.rstrip("/") + "/" for root in sys.path if root and filename.startswith(root.rstrip("/") + "/")]
    return filename.removeprefix(max(roots, key=len)) if roots else filename.replace("\\", "/").rpartition("/")[2]
