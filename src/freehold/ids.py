"""Identifiers: time-ordered UUIDs (version 7) and derived, repeatable ones. Foundation: standard library only."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from uuid import UUID

__all__ = ["derive_id", "new_id", "new_ids_from", "stable_hash"]

_lock = threading.Lock()
_last_ms = 0
_counter = 0
_owner_pid = 0
_time_ns: Callable[[], int] = time.time_ns
_random_bytes: Callable[[int], bytes] = os.urandom


def new_id() -> UUID:
    """Return a UUIDv7 (RFC 9562, method 1): unique over processes, increasing within one.

    62 random bits separate processes that draw in the same millisecond. A 12-bit counter keeps the ids of one process
    in order, and uses the next millisecond when it overflows. A forked child starts a counter of its own.
    """
    global _last_ms, _counter, _owner_pid  # noqa: PLW0603 - one monotonic sequence a process is the point
    with _lock:
        now_ms = _time_ns() // 1_000_000
        if _owner_pid != os.getpid():
            _owner_pid, _last_ms, _counter = os.getpid(), 0, 0
        if now_ms > _last_ms:
            _last_ms, _counter = now_ms, int.from_bytes(_random_bytes(1)) & 0x7F
        else:
            _counter += 1
            if _counter > 0xFFF:
                _last_ms, _counter = _last_ms + 1, 0
        ms, counter = _last_ms, _counter
    random_bits = int.from_bytes(_random_bytes(8)) & 0x3FFF_FFFF_FFFF_FFFF
    return UUID(int=(ms << 80) | (0x7 << 76) | (counter << 64) | (0b10 << 62) | random_bits)


@contextmanager
def new_ids_from(time_ns: Callable[[], int], random_bytes: Callable[[int], bytes]) -> Iterator[None]:
    """Have `new_id` take the time and its random bits from here, in the whole process, within the block.

    For simulations, which must draw the same ids again: ids from equal sources are equal.
    """
    global _last_ms, _counter, _time_ns, _random_bytes
    with _lock:
        before = _last_ms, _counter, _time_ns, _random_bytes
        _last_ms, _counter, _time_ns, _random_bytes = 0, 0, time_ns, random_bytes
    try:
        yield
    finally:
        with _lock:
            _last_ms, _counter, _time_ns, _random_bytes = before


def derive_id(*parts: str | UUID | int) -> UUID:
    """Return a UUID (version 8, RFC 9562) that is always the same for the same parts: for idempotency keys.

    Parts are length-prefixed before hashing (BLAKE2b), so that ("ab", "c") and ("a", "bc") differ.
    """
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        raw = str(part).encode()
        digest.update(len(raw).to_bytes(4))
        digest.update(raw)
    value = int.from_bytes(digest.digest())
    value = (value & ~(0xF << 76)) | (0x8 << 76)
    value = (value & ~(0b11 << 62)) | (0b10 << 62)
    return UUID(int=value)


@lru_cache(maxsize=2048)
def stable_hash(text: str) -> int:
    """Return a signed 64-bit hash that is the same in every process and version: partitions, lock keys.

    Kept for some time: staging, the relay and the broker each ask for a key's.
    """
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), signed=True)
