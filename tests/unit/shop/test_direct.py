"""A body that cannot be read is the caller's mistake, whichever way it cannot be read."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

import msgspec
import pytest
from fastapi import Request
from fastapi.exceptions import RequestValidationError

from freehold_shop.direct import read_body


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "json_invalid"),
        (b"{", "json_invalid"),
        (b'{"a": "\xff"}', "json_invalid"),
        (b'{"a": "a", "b": ' + b"[" * 9_999 + b"]" * 9_999 + b"}", "json_invalid"),
        (b'{"a": 1}', "does_not_fit"),
    ],
    ids=["empty", "cut-off", "no-utf-8", "too-deep", "another-type"],
)
async def test_a_body_that_cannot_be_read_is_refused(body: bytes, said: str) -> None:
    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    request = Request({"type": "http", "method": "POST", "path": "/", "headers": []}, receive)
    kind = msgspec.defstruct("Kind", [("a", str)])
    with pytest.raises(RequestValidationError) as refused:
        await read_body(request, msgspec.json.Decoder(kind))
    assert refused.value.errors()[0]["type"] == said
