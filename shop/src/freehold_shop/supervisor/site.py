"""What faults may do to this shop. Imports the faults' port, the ground and the children."""

from __future__ import annotations

import http.client
import signal
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
from msgspec.structs import replace

from freehold import Settings, Unavailable
from freehold.messages import MessageType
from freehold_shop.faults.antidote import READ_SECONDS, draw_out
from freehold_shop.faults.fault import Trouble
from freehold_shop.faults.poison import poison
from freehold_shop.faults.resend import RESEND_SECONDS, send_again
from freehold_shop.providers.wire import DeclineRules, Rules
from freehold_shop.supervisor.apart import Apart, Work
from freehold_shop.supervisor.children import Child
from freehold_shop.supervisor.ground import Ground
from freehold_shop.supervisor.wishes import Wishes

__all__ = ["ShopSite"]

_RULES_SECONDS = 5.0
_SLOW_SECONDS = 3.0
_APART_SECONDS = 20.0


@dataclass(slots=True)
class ShopSite:
    """Implements `freehold_shop.faults.fault.Site`. `wishes` is what every child is to be told.

    `readers` are the services that read poisoned topics, with these.
    """

    provider_url: str
    ground: Ground
    children: Sequence[Child]
    poisoned: Sequence[MessageType]
    readers: Mapping[str, frozenset[str]]
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

    def stop_processes(self, service: str, *, on: bool) -> None:
        """Stop the processes that run the service now, or let them go on."""
        for child in self.children:
            if service in child.services:
                child.signal(signal.SIGSTOP if on else signal.SIGCONT)

    def broker_outage(self, *, on: bool) -> None:
        """Let the ground do it."""
        (self.ground.begin_broker_outage if on else self.ground.end_broker_outage)()

    def empty_broker(self) -> None:
        """Let the ground do it."""
        self.ground.empty_broker()

    def send_again(self) -> Apart:
        """In a process of its own: this one has no event loop."""
        return self._apart("sending again", lambda: send_again(self.settings), RESEND_SECONDS)

    def broker_limit(self, *, on: bool) -> None:
        """Let the ground do it, and wish it of every child."""
        if on:
            self.ground.begin_broker_limit()
        self._wish(replace(self.wishes, broker_full=on))
        if not on:
            self.ground.end_broker_limit()

    def database_trouble(self, service: str, trouble: Trouble, *, on: bool) -> None:
        """Let the ground do it, and wish it of every child where it is the process that must not write."""
        if on:
            self.ground.begin_database_trouble(service, trouble)
        match trouble:
            case Trouble.FULL:
                names = _with(self.wishes.databases_full, service, on=on)
                self._wish(replace(self.wishes, databases_full=names))
            case Trouble.READ_ONLY:
                names = _with(self.wishes.databases_read_only, service, on=on)
                self._wish(replace(self.wishes, databases_read_only=names))
            case Trouble.DOWN | Trouble.LOCKED:
                pass
        if not on:
            self.ground.end_database_trouble(service, trouble)

    def stop_relays(self, service: str, *, on: bool) -> None:
        """Wish it of every child."""
        self._wish(replace(self.wishes, relays_stopped=_with(self.wishes.relays_stopped, service, on=on)))

    def duplicate_messages(self, *, on: bool) -> None:
        """Wish it of every child."""
        self._wish(replace(self.wishes, duplicates=on))

    def slow_projections(self, *, on: bool) -> None:
        """Wish it of every child."""
        self._wish(replace(self.wishes, projections_slow=on))

    def poison(self) -> None:
        """From a process of its own: this one has no event loop."""
        chosen = next(iter(self.settings.values()))
        self._apart("poisoning", lambda: poison(chosen.broker, chosen.broker_options, self.poisoned), 0.0).wait()

    def draw_poison_out(self) -> Apart:
        """In a process of its own, which waits for all that read. Whoever reads nothing was not poisoned."""
        return self._apart("healing", lambda: draw_out(self.settings, self.readers), READ_SECONDS)

    def _apart(self, what: str, work: Work, seconds: float) -> Apart:
        return Apart(what, work, self.log, seconds + _APART_SECONDS)

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


def _with(names: Sequence[str], name: str, *, on: bool) -> tuple[str, ...]:
    return tuple(sorted({*names, name} if on else {*names} - {name}))
