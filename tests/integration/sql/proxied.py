"""PostgreSQL behind a proxy that loses answers, or passes nothing on."""

from __future__ import annotations

from freehold.testing import POSTGRESQL_COMMIT, LostAnswers, TcpProxy

__all__ = ["lose_commits", "stall", "through"]


def through(proxy: TcpProxy, url: str) -> str:
    """The URL through the proxy, not encrypted."""
    return f"{proxy.through(url)}?sslmode=disable"


def stall(proxy: TcpProxy) -> None:
    """A network that is gone: what is connected hears nothing any more, also after `heal`."""
    proxy.half_open()
    proxy.partition()


def lose_commits(proxy: TcpProxy) -> LostAnswers:
    """Carry every COMMIT out, and cut the client off instead of answering."""
    return proxy.lose_answers(POSTGRESQL_COMMIT)
