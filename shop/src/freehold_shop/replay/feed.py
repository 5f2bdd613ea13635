"""The orders of the files for the event loop: read in a thread, in chunks, one chunk ahead.

The size of a chunk depends on its orders alone, so that reading the same files again gives the same chunks, and with
them the same references of stock receipts. Imports the retail reader.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterable, Sequence
from itertools import islice
from pathlib import Path

from freehold_shop.retail import (
    ReadCounts,
    Rejected,
    RejectsWriter,
    ReturnOrder,
    Sale,
    SaleLine,
    read_orders,
    reject_lines,
)

__all__ = ["CHUNK_ORDERS", "Order", "OrderFeed", "SharedRejects"]

CHUNK_ORDERS = 100
CHUNK_LINES_MAX = 2_900
"""A chunk ends with the order that brings it above so many lines. This bounds the memory, and the products of a chunk
to what one intake may have, also with the largest order."""

Order = Sale | ReturnOrder


class SharedRejects:
    """The rejects file, for the reader's thread and for the event loop. Counts the rows by reason."""

    def __init__(self, writer: RejectsWriter) -> None:
        self._writer = writer
        self._lock = threading.Lock()

    def __call__(self, rejected: Rejected) -> None:
        """Write one row."""
        with self._lock:
            self._writer.write(rejected)

    def reject(self, lines: Iterable[SaleLine], reason: str, detail: str = "") -> None:
        """Write the rows of lines that were rejected after they were read."""
        for rejected in reject_lines(lines, reason, detail):
            self(rejected)

    def by_reason(self) -> dict[str, int]:
        """How many rows were rejected, by reason."""
        with self._lock:
            return dict(self._writer.counts.rows_rejected)

    @property
    def path(self) -> Path:
        """The path of the file."""
        return self._writer.path


class OrderFeed:
    """Reads the files. The headers are checked by the constructor, which raises `RetailInputError`."""

    def __init__(self, files: Sequence[Path], rejects: SharedRejects) -> None:
        self.counts = ReadCounts()
        self._orders = read_orders(files, rejects, self.counts)

    async def chunks(self) -> AsyncIterator[list[Order]]:
        """The orders in the sequence of the files; the next chunk is read while the caller processes this one.

        Raises `RetailInputError` where a file fails later, after it has yielded the orders that were read before.
        """
        ahead = asyncio.ensure_future(asyncio.to_thread(self._read))
        try:
            while True:
                chunk, error = await ahead
                if error is None and chunk:
                    ahead = asyncio.ensure_future(asyncio.to_thread(self._read))
                if chunk:
                    yield chunk
                if error is not None:
                    raise error
                if not chunk:
                    return
        finally:
            # A thread cannot be cancelled: wait for the end of its chunk before the generator is closed.
            await asyncio.gather(ahead, return_exceptions=True)
            self._close()

    def _read(self) -> tuple[list[Order], Exception | None]:
        chunk: list[Order] = []
        line_count = 0
        try:
            for order in islice(self._orders, CHUNK_ORDERS):
                chunk.append(order)
                line_count += len(order.lines)
                if line_count > CHUNK_LINES_MAX:
                    break
        except Exception as error:  # noqa: BLE001 - returned to the caller, after the orders that were read
            return chunk, error
        return chunk, None

    def _close(self) -> None:
        close = getattr(self._orders, "close", None)
        if close is not None:
            close()
