"""Errors that end the reading of a retail file. A bad row raises none: it is rejected and the run continues.

Imports Freehold's errors.
"""

from __future__ import annotations

from collections.abc import Sequence

from freehold import CodecError

__all__ = ["RetailInputError", "UnreadableFile", "WrongHeader"]


class RetailInputError(CodecError):
    """A file as a whole cannot be read."""


class WrongHeader(RetailInputError):
    """The first line of a file is not the header of the format.

    The line itself is not quoted: in a file without a header it is a customer's order.
    """

    def __init__(self, file: str, expected: Sequence[str], missing: Sequence[str]) -> None:
        what = f"lacks {', '.join(missing)}" if missing else "has the columns in another order, or more of them"
        super().__init__(
            f"{file}: the header {what}",
            hint=f"the first line must be: {','.join(expected)}",
        )
        self.file = file
        self.expected = tuple(expected)
        self.missing = tuple(missing)


class UnreadableFile(RetailInputError):
    """A file does not exist, is no file, or may not be read."""

    def __init__(self, file: str, why: str) -> None:
        super().__init__(f"{file}: cannot be read: {why}", hint="check the path and its permissions")
        self.file = file
