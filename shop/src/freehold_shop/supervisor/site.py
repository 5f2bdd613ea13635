"""The supervisor's implementation of faults. Imports the faults' port, the infrastructure and the children."""

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
from freehold_shop.faults.fault import Trouble
from freehold_shop.faults.poison import poison
from freehold_shop.faults.poison_cleanup import READ_SECONDS, discard_poison
from freehold_shop.faults.resend import RESEND_SECONDS, send_again
from freehold_shop.providers.wire import DeclineRules, Rules
from freehold_shop.supervisor.child_task import ChildTask, Work
from freehold_shop.supervisor.children import Child
from freehold_shop.supervisor.infrastructure import Infrastructure
from freehold_shop.supervisor.requested_faults import RequestedFaults

__all__ = ["ShopSite"]

_RULES_SECONDS = 5.0
_SLOW_SECONDS = 3.0
_MARGIN_SECONDS = 20.0


@dataclass(slots=True)
class ShopSite:
    """Implements `freehold_shop.faults.fault.Site`. `requested` are the faults that are sent to every child.

    `readers` are the services that read poisoned topics, with those topics.
    """

    provider_url: str
    infrastructure: Infrastructure
    children: Sequence[Child]
    poisoned: Sequence[MessageType]
    readers: Mapping[str, frozenset[str]]
    settings: Mapping[str, Settings]
    log: Path
    requested: RequestedFaults = field(default_factory=RequestedFaults)
    _rules: set[str] = field(default_factory=set)

    def payments_rule(self, rule: str, *, on: bool) -> None:
        """Set the provider's rules to those of all payment faults that are on."""
        wanted = self._rules | {rule} if on else self._rules - {rule}
        _put_rules(self.provider_url, _rules_of(wanted))
        self._rules = wanted

    def crash(self, service: str) -> None:
        """Kill the service's processes."""
        for child in self.children:
            if service in child.services:
                child.signal(signal.SIGKILL)

    def stop_processes(self, service: str, *, on: bool) -> None:
        """Stop the service's processes, or continue them."""
        for child in self.children:
            if service in child.services:
                child.signal(signal.SIGSTOP if on else signal.SIGCONT)

    def broker_outage(self, *, on: bool) -> None:
        """Begin or end the outage in the infrastructure."""
        (self.infrastructure.begin_broker_outage if on else self.infrastructure.end_broker_outage)()

    def empty_broker(self) -> None:
        """Empty the broker in the infrastructure."""
        self.infrastructure.empty_broker()

    def send_again(self) -> ChildTask:
        """Resend in a child process, since this one has no event loop."""
        return self._in_child("sending again", lambda: send_again(self.settings), RESEND_SECONDS)

    def broker_limit(self, *, on: bool) -> None:
        """Limit the broker in the infrastructure, and request it of every child."""
        if on:
            self.infrastructure.begin_broker_limit()
        self._request(replace(self.requested, broker_full=on))
        if not on:
            self.infrastructure.end_broker_limit()

    def database_trouble(self, service: str, trouble: Trouble, *, on: bool) -> None:
        """Begin or end the trouble in the infrastructure, and where processes apply it request it of every child."""
        if on:
            self.infrastructure.begin_database_trouble(service, trouble)
        match trouble:
            case Trouble.FULL:
                names = _with(self.requested.databases_full, service, on=on)
                self._request(replace(self.requested, databases_full=names))
            case Trouble.READ_ONLY:
                names = _with(self.requested.databases_read_only, service, on=on)
                self._request(replace(self.requested, databases_read_only=names))
            case Trouble.DOWN | Trouble.LOCKED | Trouble.FROZEN:
                pass
        if not on:
            self.infrastructure.end_database_trouble(service, trouble)

    def crash_database(self, service: str) -> None:
        """Kill the server in the infrastructure."""
        self.infrastructure.crash_database(service)

    def end_sessions(self, service: str) -> None:
        """End them in the infrastructure."""
        self.infrastructure.end_sessions(service)

    def stop_relays(self, service: str, *, on: bool) -> None:
        """Request it of every child."""
        self._request(replace(self.requested, relays_stopped=_with(self.requested.relays_stopped, service, on=on)))

    def duplicate_messages(self, *, on: bool) -> None:
        """Request it of every child."""
        self._request(replace(self.requested, duplicates=on))

    def slow_projections(self, *, on: bool) -> None:
        """Request it of every child."""
        self._request(replace(self.requested, projections_slow=on))

    def poison(self) -> None:
        """Publish in a child process, since this one has no event loop."""
        chosen = next(iter(self.settings.values()))
        self._in_child("poisoning", lambda: poison(chosen.broker, chosen.broker_options, self.poisoned), 0.0).wait()

    def discard_poison(self) -> ChildTask:
        """Discard in a child process, which waits for all services that read poisoned topics."""
        return self._in_child("healing", lambda: discard_poison(self.settings, self.readers), READ_SECONDS)

    def _in_child(self, what: str, work: Work, seconds: float) -> ChildTask:
        return ChildTask(what, work, self.log, seconds + _MARGIN_SECONDS)

    def _request(self, requested: RequestedFaults) -> None:
        self.requested = requested
        for child in self.children:
            child.send(requested)


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
        raise Unavailable(f"the providers' double answered {status} to its rules")


def _with(names: Sequence[str], name: str, *, on: bool) -> tuple[str, ...]:
    return tuple(sorted({*names, name} if on else {*names} - {name}))
