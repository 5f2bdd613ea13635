"""`freehold broker accounts` and `streams`: a server runs with what they write, and each service does its own work."""

from __future__ import annotations

import asyncio
import json
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.cli.typing_in import Typed, typist

from freehold.broker import BrokerOptions, OutgoingMessage, PublishConfirmed, PublishFailed
from freehold.ids import new_id
from freehold.runtime.adapters import open_broker
from freehold.settings import DEFAULT_DIRECTORY
from freehold_shop.servers import RunningServer, start_nats

_TWO = """
from freehold import Service, event

@event("paying.paid")
class Paid:
    id: str

selling, paying = Service("selling"), Service("paying")

@selling.handles(Paid)
async def paid(tx, paid: Paid):
    pass
"""
_DIRECTORY = Path(DEFAULT_DIRECTORY) / "broker"


@pytest.fixture
def typed(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Typed:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "two_services.py").write_text(_TWO, encoding="utf-8")
    monkeypatch.setenv("FREEHOLD_APP", "two_services")
    return typist(capsys)


def _variables() -> dict[str, str]:
    lines = (_DIRECTORY / "services.env").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines)


def _kept() -> dict[str, str]:
    return {file.name: file.read_text(encoding="utf-8") for file in _DIRECTORY.iterdir()}


def test_files_are_private_and_passwords_stay(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FREEHOLD_BROKER", "nats://one:1,nats://two:2")
    told = typed("broker", "accounts")
    assert told.code == 0
    before = _kept()
    assert set(before) == {"accounts.conf", "services.env", "passwords.json"}
    assert {stat.S_IMODE(file.stat().st_mode) for file in _DIRECTORY.iterdir()} == {0o600}
    assert stat.S_IMODE(_DIRECTORY.stat().st_mode) == 0o700
    url = _variables()["FREEHOLD_PAYING_BROKER"]
    password = url.split("@")[0].rpartition(":")[2]
    assert url == f"nats://paying:{password}@one:1,nats://paying:{password}@two:2"
    again = typed("broker", "accounts", "--json")
    assert again.document["services"] == ["paying", "selling"]
    assert _kept() == before
    for secret in (password, before["passwords.json"]):
        assert secret not in told.out + told.err + again.out + again.err


def test_a_server_that_is_down_is_an_outage(typed: Typed) -> None:
    assert typed("broker", "accounts").code == 0
    told = typed("broker", "streams", "--server", "127.0.0.1:1")
    assert told.code == 3
    assert json.loads(_kept()["passwords.json"])["OPERATOR"] not in told.err


def test_what_does_not_fit_is_refused(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "freehold broker accounts" in typed("broker", "streams").err
    monkeypatch.setenv("FREEHOLD_PAYING_BROKER_OPTIONS_PREFIX", "other")
    told = typed("broker", "accounts")
    assert told.code == 2
    assert "broker_options.prefix differs between services: freehold, other" in told.err
    monkeypatch.delenv("FREEHOLD_PAYING_BROKER_OPTIONS_PREFIX")
    _DIRECTORY.mkdir(parents=True)
    (_DIRECTORY / "passwords.json").write_text("[]", encoding="utf-8")
    told = typed("broker", "accounts")
    assert told.code == 2
    assert "passwords.json does not hold passwords by name" in told.err


@pytest.fixture
def server(typed: Typed, servers_directory: Path, nats_server: RunningServer) -> Iterator[RunningServer]:
    """A server of its own with what was written; where no NATS can be had, `nats_server` says so or fails."""
    assert nats_server.url
    assert typed("broker", "accounts").code == 0
    accounts = (_DIRECTORY / "accounts.conf").read_text(encoding="utf-8")
    with start_nats(servers_directory / "written-accounts", accounts=accounts) as running:
        yield running


@pytest.mark.servers
def test_a_server_with_it_refuses_what_is_of_others(
    typed: Typed, server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = f"127.0.0.1:{server.port}"
    assert typed("broker", "streams", "--server", place).code == 0
    assert typed("broker", "accounts", "--server", place).code == 0
    for name, value in _variables().items():
        monkeypatch.setenv(name, value)

    async def publish() -> list[object]:
        broker = open_broker(_variables()["FREEHOLD_SELLING_BROKER"], BrokerOptions())
        await broker.open()
        sent = [OutgoingMessage(new_id(), topic, "k", b"{}") for topic in ("selling.events", "paying.events")]
        outcomes = await broker.publish(sent, 10.0)
        await broker.close()
        return list(outcomes)

    own, foreign = asyncio.run(publish())
    assert isinstance(own, PublishConfirmed)
    assert isinstance(foreign, PublishFailed)
    assert typed("db", "upgrade").code == 0
    doctor = typed("doctor")
    assert doctor.code == 0, doctor.out
    assert "ok broker isolation: these credentials do not reach data of other services" in doctor.out
