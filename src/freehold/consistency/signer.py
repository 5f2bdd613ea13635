"""Tokens as they travel outside: signed, opaque, in a header. Pattern: imports the foundation and its own package.

Whoever holds a token may pass it on and join several, and cannot make one: a made-up position could have every read
wait. The signature says who made it, and hides nothing: positions are no secret.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable, Sequence
from typing import Final, Self

from freehold.consistency.token import EMPTY_TOKEN, ConsistencyToken
from freehold.errors import CodecError, ConfigurationError, FreeholdError

__all__ = ["TOKENS_MAX", "InvalidToken", "TokenSigner", "merge_headers"]

TOKENS_MAX: Final = 64
"""How many tokens one request may bring. More are refused and none is passed over: a read would look fresh by it."""

_VERSION: Final = "1"
_CONTEXT: Final = b"freehold-consistency-token/1\x00"
_SECRET_CHARACTERS_MIN: Final = 12
_SIGNATURE_BYTES: Final = 16
_HEADER_CHARACTERS_MAX: Final = 256 * 1024
"""Above what the widest token needs: what was given out is taken back. What a server takes as headers is its own."""


class InvalidToken(FreeholdError):
    """A token that nobody who shares the secret has made: garbled, made up, or signed with a secret that is gone."""


class TokenSigner:
    """Signs with the first of the secrets, and takes what was signed with any of them."""

    def __init__(self, secrets: Sequence[str]) -> None:
        if not secrets or any(len(secret) < _SECRET_CHARACTERS_MIN for secret in secrets):
            raise ConfigurationError(
                f"token_secret holds a secret of less than {_SECRET_CHARACTERS_MIN} characters",
                hint="python -c 'import secrets; print(secrets.token_urlsafe(32))'",
            )
        self._keys = [hashlib.sha256(_CONTEXT + secret.encode()).digest() for secret in secrets]

    @classmethod
    def of(cls, setting: str) -> Self | None:
        """Make one from the setting `token_secret`, secrets separated by commas; None where there is none."""
        secrets = [each.strip() for each in setting.split(",") if each.strip()]
        return cls(secrets) if secrets else None

    def sign(self, token: ConsistencyToken) -> str:
        """The token for a header; empty for a token of nothing."""
        if not token:
            return ""
        text = token.text.encode()
        return ".".join((_VERSION, _written(text), _written(_signature(self._keys[0], text))))

    def verify(self, text: str) -> ConsistencyToken:
        """Read one token. Raises `InvalidToken`."""
        version, _, rest = text.strip().partition(".")
        payload, _, signature = rest.partition(".")
        if version != _VERSION:
            raise _refused()
        raw, given = _read(payload), _read(signature)
        if not any(hmac.compare_digest(_signature(key, raw), given) for key in self._keys):
            raise _refused()
        try:
            return ConsistencyToken.parse(raw.decode("ascii"))
        except (CodecError, UnicodeDecodeError) as error:
            raise _refused() from error

    def verify_all(self, values: Iterable[str]) -> ConsistencyToken:
        """Read a header, which may be repeated and hold several tokens: what has seen all of them.

        Raises `InvalidToken`, also for more than `TOKENS_MAX`.
        """
        texts = list(_split(values))
        if len(texts) > TOKENS_MAX or sum(map(len, texts)) > _HEADER_CHARACTERS_MAX:
            raise InvalidToken("more consistency tokens than one request may bring", hint="merge them one call earlier")
        return EMPTY_TOKEN.merged(*(self.verify(text) for text in texts))


def merge_headers(values: Iterable[str]) -> str:
    """Join the values of several answers' headers into one, for those who have no secret; empty for nothing.

    Each token is there once, and none is dropped: the next service that knows the secret verifies each and answers with
    one. It refuses more than `TOKENS_MAX`: who joins the answers of more services signs, and so merges, by itself.
    """
    return ", ".join(dict.fromkeys(_split(values)))


def _split(values: Iterable[str]) -> Iterable[str]:
    for value in values:
        for part in value.split(","):
            if part.strip():
                yield part.strip()


def _signature(key: bytes, text: bytes) -> bytes:
    return hmac.digest(key, text, "sha256")[:_SIGNATURE_BYTES]


def _written(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def _read(text: str) -> bytes:
    """Decode, and take one way of writing only: a token is either as it was given, or refused."""
    try:
        raw = base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise _refused() from error
    if _written(raw) != text:
        raise _refused()
    return raw


def _refused() -> InvalidToken:
    return InvalidToken("this consistency token is none of ours", hint="pass tokens on as they were given")
