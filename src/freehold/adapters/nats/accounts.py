"""The configuration of a nats-server in which each service has an account of its own. Adapter: imports its package.

JetStream is in one account, the hub. Each service's account imports exactly the subjects that the service needs, so the
server refuses everything else at once. Permissions for users of one account would not be enough: the server does not
check a reply subject, and stores a message under whatever subject it names.

No service imports the subjects that create, update or delete streams: with a stream that copies other streams it could
read everything. The operator, a user of the hub, makes the streams. The operator may subscribe only to replies: a
consumer can push messages to any subject that a user in the hub subscribes to, and a service could name such a subject.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from freehold.adapters.nats.names import Names
from freehold.broker import OPERATOR, STREAMS_OWNER, BrokerOptions, BrokerRights
from freehold.groups.log import TopicPartition

__all__ = ["accounts"]

_ANSWERED_ONCE: Final = (
    "$JS.API.INFO",
    "$JS.API.STREAM.INFO.*",
    "$JS.API.STREAM.PURGE.*",
    "$JS.API.CONSUMER.CREATE.>",
    "$JS.API.CONSUMER.DELETE.*.*",
)
_ANSWERED_OFTEN: Final = "$JS.API.CONSUMER.MSG.NEXT.*.*"


def accounts(rights: Sequence[BrokerRights], options: BrokerOptions, passwords: Mapping[str, str]) -> str:
    """Return the `accounts` part of the server's configuration.

    `passwords` has one for each service and for `OPERATOR`, in the form that the file needs: quoted, or the name of a
    variable. Raises `ConfigurationError` for topics and names that NATS does not accept.
    """
    names = Names(options.prefix)
    lines = ["accounts {", *_hub(names, rights, passwords[OPERATOR])]
    for each in rights:
        lines += _account(names, each, options.partitions, passwords[each.service])
    return "\n".join([*lines, "}"]) + "\n"


def _hub(names: Names, rights: Sequence[BrokerRights], password: str) -> Iterator[str]:
    services = json.dumps([each.service for each in rights])
    yield f"  {STREAMS_OWNER} {{"
    yield "    jetstream: enabled"
    yield f'    users: [ {{ user: {OPERATOR}, password: {password}, permissions: {{ subscribe: ["_INBOX.>"] }} }} ]'
    yield "    exports: ["
    for subject in (f"{names.prefix}.log.>", "$KV.>", *_ANSWERED_ONCE):
        yield f"      {{ service: {json.dumps(subject)}, accounts: {services} }}"
    yield f"      {{ service: {json.dumps(_ANSWERED_OFTEN)}, response_type: Stream, accounts: {services} }}"
    yield "    ]"
    yield "  }"


def _account(names: Names, rights: BrokerRights, partitions: int, password: str) -> Iterator[str]:
    api = f"{names.prefix}.api"
    yield f"  {rights.service} {{"
    yield f"    users: [ {{ user: {rights.service}, password: {password} }} ]"
    # The subjects are mapped, because in an account without JetStream the server itself answers `$JS.API` requests with
    # an error, before the hub gets them.
    yield f'    mappings: {{ "$JS.API.>": "{api}.>" }}'
    yield "    imports: ["
    for subject in _subjects(names, rights, partitions):
        local = f"{api}.{subject.removeprefix('$JS.API.')}" if subject.startswith("$JS.API.") else subject
        service = f"{{ account: {STREAMS_OWNER}, subject: {json.dumps(subject)} }}"
        yield f"      {{ service: {service}, to: {json.dumps(local)} }}"
    yield "    ]"
    yield "  }"


def _subjects(names: Names, rights: BrokerRights, partitions: int) -> Iterator[str]:
    """The subjects that a service may send to. Consumers of the log have known names, and read one partition each."""
    bucket = names.bucket(rights.service)
    yield "$JS.API.INFO"
    yield from (f"$JS.API.STREAM.INFO.{stream}" for stream in (names.log, bucket))
    yield f"$JS.API.STREAM.PURGE.{bucket}"
    yield f"$JS.API.CONSUMER.CREATE.{bucket}.>"
    yield f"$JS.API.CONSUMER.DELETE.{bucket}.*"
    yield f"$JS.API.CONSUMER.MSG.NEXT.{bucket}.*"
    yield f"{names.group(rights.service)}.>"
    for topic in (*sorted(rights.publishes), f"{rights.service}.probe"):
        yield from (f"{base}.{names.dotted(topic)}.*" for base in names.bases)
    for topic in sorted(rights.reads):
        for place in (TopicPartition(topic, number) for number in range(partitions)):
            for consumer in (names.reader(rights.service, place), names.counter(rights.service, place)):
                create = f"$JS.API.CONSUMER.CREATE.{names.log}.{consumer}"
                yield from (f"{create}.{base}.{topic}.{place.partition}" for base in names.bases)
                yield f"$JS.API.CONSUMER.DELETE.{names.log}.{consumer}"
                yield f"$JS.API.CONSUMER.MSG.NEXT.{names.log}.{consumer}"
