"""What faults may do to this shop. Imports the faults' port, the ground and the children."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import os
import signal
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
from msgspec.structs import replace

from freehold.errors import FreeholdError, Unavailable
from freehold.messages import MessageType
from freehold.settings import Settings
from freehold_shop.faults.antidote import draw_out
from freehold_shop.faults.poison import poison
from freehold_shop.providers.wire import DeclineRules, Rules
from freehold_shop.supervisor.children import Child
from freehold_shop.supervisor.ground import Ground
from freehold_shop.supervisor.kernel import fork, send_signal
from freehold_shop.supervisor.wishes import Wishes

__all__ = ["ShopSite"]

_RULES_SECONDS = 5.0
_SLOW_SECONDS = 3.0
_APART_SECONDS = 20.0


@dataclass(slots=True)
class ShopSite:
    """Implements `freehold_shop.faults.fault.Site`. `wishes` is what every child is to be told."""

    provider_url: str
    ground: Ground
    children: Sequence[Child]
    poisoned: Sequence[MessageType]
    readers: Sequence[str]
    settings: Mapping[str, Settings]
    log: Path
    wishes: Wishes = field(default_factory=Wishes)
    _rules: set[str] = field(default_factory=set)

    def payments_rule(self, rule: str, *, on: bool) -> None:
        """Put the provider's rules as all that are on make them."""
        wanted = self._rules | {rule} if on else self._rules - {rule}
        _put_rules(self.provider_url, _rules_of(wanted))
        self._rules = wanted

    def crash(self, service: str) -> None:
        """Kill the processes that run the service."""
        for child in self.children:
            if service in child.services:
                child.signal(signal.SIGKILL)

    def broker_outage(self, *, on: bool) -> None:
        """Let the ground do it."""
        (self.ground.begin_broker_outage if on else self.ground.end_broker_outage)()

    def database_outage(self, service: str, *, on: bool) -> None:
        """Let the ground do it."""
        (self.ground.begin_database_outage if on else self.ground.end_database_outage)(service)

    def stop_relays(self, service: str, *, on: bool) -> None:
        """Wish it of every child."""
        stopped = set(self.wishes.relays_stopped)
        stopped = stopped | {service} if on else stopped - {service}
        self._wish(replace(self.wishes, relays_stopped=tuple(sorted(stopped))))

    def duplicate_messages(self, *, on: bool) -> None:
        """Wish it of every child."""
        self._wish(replace(self.wishes, duplicates=on))

    def slow_projections(self, *, on: bool) -> None:
        """Wish it of every child."""
        self._wish(replace(self.wishes, projections_slow=on))

    def poison(self, *, on: bool) -> None:
        """From a process of its own: this one has no event loop. Whoever reads nothing was not poisoned."""
        chosen = next(iter(self.settings.values()))
        if on:
            _do_apart(lambda: poison(chosen.broker, chosen.broker_options, self.poisoned), self.log)
        else:
            _do_apart(lambda: draw_out(self.settings, self.readers), self.log)

    def _wish(self, wishes: Wishes) -> None:
        self.wishes = wishes
        for child in self.children:
            child.tell(wishes)


def _rules_of(names: Iterable[str]) -> Rules:
    on = set(names)
    return Rules(
        down="down" in on,
        latency_seconds=_SLOW_SECONDS if "slow" in on else 0.0,
        declines=DeclineRules(every_nth=1) if "decline" in on else DeclineRules(),
    )


def _put_rules(url: str, rules: Rules) -> None:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=_RULES_SECONDS)
    try:
        connection.request("PUT", "/rules", body=msgspec.json.encode(rules))
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        raise Unavailable("the providers' double does not answer", hint="try again") from error
    finally:
        connection.close()
    if status != http.HTTPStatus.OK:
        raise Unavailable(f"the providers' double refused its rules with {status}")


def _do_apart(work: Callable[[], object], log: Path) -> None:
    """Run a coroutine function in a child of ours, within a time limit. Raises `Unavailable` where it failed."""

    def run() -> int:
        try:
            asyncio.run(work())  # type: ignore[arg-type] # a coroutine function is what is given
        except FreeholdError as error:
            os.write(2, f"{error}\n".encode())
            return 1
        return 0

    pid = fork(run, log)
    deadline = time.monotonic() + _APART_SECONDS
    with contextlib.suppress(ChildProcessError):
        while True:
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                if status == 0:
                    return
                break
            if time.monotonic() > deadline:
                send_signal(pid, signal.SIGKILL)
            time.sleep(0.01)
    raise Unavailable("it could not be done just now", hint=f"see {log}")
