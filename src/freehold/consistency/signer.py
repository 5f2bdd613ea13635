"""Consistency tokens as clients get them: signed, opaque, in a header. Pattern: imports the foundation, its package.

A client can pass tokens on and join several, and cannot make one: a made-up position could make every read wait. The
signature proves who made the token. It does not hide the positions, which are not secret.
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

__all__ = ["TOKENS_MAX", "InvalidToken", "TokenSigner", "merge_headers", "split_secrets"]

TOKENS_MAX: Final = 64
"""How many tokens one request may bring. More are refused: without one of them a stale read would pass for fresh."""

_VERSION: Final = "1"
_CONTEXT: Final = b"freehold-consistency-token/1\x00"
_SECRET_CHARACTERS_MIN: Final = 12
_SIGNATURE_BYTES: Final = 16
_HEADER_CHARACTERS_MAX: Final = 256 * 1024
"""More than the widest token that is ever given out. An HTTP server may have a lower limit of its own."""


class InvalidToken(FreeholdError):
    """A token with no valid signature: damaged, made up, or signed with a secret that is not used any more."""


class TokenSigner:
    """Signs tokens with the first of its secrets, and accepts those that were signed with any of them."""

    def __init__(self, secrets: Sequence[str]) -> None:
        if not secrets or any(len(secret) < _SECRET_CHARACTERS_MIN for secret in secrets):
            raise ConfigurationError(
                f"token_secret holds a secret of less than {_SECRET_CHARACTERS_MIN} characters",
                hint="python -c 'import secrets; print(secrets.token_urlsafe(32))'",
            )
        self._keys = [hashlib.sha256(_CONTEXT + secret.encode()).digest() for secret in secrets]

    @classmethod
    def of(cls, setting: str) -> Self | None:
        """Make one from the setting `token_secret`; None if there is no secret in it."""
        secrets = split_secrets(setting)
        return cls(secrets) if secrets else None

    def sign(self, token: ConsistencyToken) -> str:
        """The token for a header; empty for a token without positions."""
        if not token:
            return ""
        text = token.text.encode()
        return ".".join((_VERSION, _encoded(text), _encoded(_signature(self._keys[0], text))))

    def verify(self, text: str) -> ConsistencyToken:
        """Return the token of a text. Raises `InvalidToken`."""
        version, _, rest = text.strip().partition(".")
        payload, _, signature = rest.partition(".")
        if version != _VERSION:
            raise _invalid()
        raw, given = _decoded(payload), _decoded(signature)
        if not any(hmac.compare_digest(_signature(key, raw), given) for key in self._keys):
            raise _invalid()
        try:
            return ConsistencyToken.parse(raw.decode("ascii"))
        except (CodecError, UnicodeDecodeError) as error:
            raise _invalid() from error

    def verify_all(self, values: Iterable[str]) -> ConsistencyToken:
        """Return all tokens of a header, merged. The header may be repeated, and each may hold several tokens.

        Raises `InvalidToken`, also for more than `TOKENS_MAX`.
        """
        texts = list(_split(values))
        if len(texts) > TOKENS_MAX or sum(map(len, texts)) > _HEADER_CHARACTERS_MAX:
            raise InvalidToken("more consistency tokens than one request may bring", hint="merge them one call earlier")
        return EMPTY_TOKEN.merged(*(self.verify(text) for text in texts))


def split_secrets(setting: str) -> list[str]:
    """The secrets in the setting `token_secret`, which separates them by commas; the first one is used to sign."""
    return [each.strip() for each in setting.split(",") if each.strip()]


def merge_headers(values: Iterable[str]) -> str:
    """Join the headers of several responses into one value, for a client without the secret; empty for no token.

    Each token is in it once, and none is left out. The next service that knows the secret verifies them, and responds
    with one. It refuses more than `TOKENS_MAX`: a gateway that joins more responses needs the secret, and merges them.
    """
    return ", ".join(dict.fromkeys(_split(values)))


def _split(values: Iterable[str]) -> Iterable[str]:
    for value in values:
        for part in value.split(","):
            if part.strip():
                yield part.strip()


def _signature(key: bytes, text: bytes) -> bytes:
    return hmac.digest(key, text, "sha256")[:_SIGNATURE_BYTES]


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def _decoded(text: str) -> bytes:
    """Decode one way of writing only, so that a token is valid only as it was given."""
    try:
        raw = base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise _invalid() from error
    if _encoded(raw) != text:
        raise _invalid()
    return raw


def _invalid() -> InvalidToken:
    return InvalidToken("the signature of this consistency token is not valid", hint="pass tokens on unchanged")
