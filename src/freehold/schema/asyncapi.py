"""The AsyncAPI 3.0 document of a service: its topics, operations and message schemas. Pure functions.

A message is one CloudEvents document (structured mode). So the described payload is the whole document: the attributes
of the envelope, and the body as its `data`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from freehold.messages import MessageKind, MessageType, Registry, message_type, registry
from freehold.saga.steps import StepKind
from freehold.schema.jsonschema import Schema, schemas_of
from freehold.service import Service

__all__ = ["CONTENT_TYPE", "asyncapi", "requests_of"]

CONTENT_TYPE: Final = "application/cloudevents+json"
_REFS: Final = "#/components/schemas/{name}"
_REPLY: Final = "freehold.reply"
_TEXT: Final = {"type": "string"}
_UUID: Final = {"type": "string", "format": "uuid"}


def asyncapi(service: Service, version: str = "1", types: Registry = registry) -> dict[str, Any]:
    """Return the AsyncAPI document of a service; `version` is the service's, not that of the format.

    Raises `DeclarationError` for a message without a JSON Schema.
    """
    events = _ordered(each for each in types if each.service == service.name and each.kind is MessageKind.EVENT)
    handled = _ordered(service.handlers)
    requests = _ordered(requests_of(service))
    everything = _ordered({*events, *handled, *requests})
    bodies, components = schemas_of(everything, _REFS)
    messages = {_id(each): _message(each, _draft_7(body)) for each, body in zip(everything, bodies, strict=True)}
    answered = any(each.kind is MessageKind.COMMAND for each in (*handled, *requests))
    if answered:
        messages[_REPLY] = _reply_message()
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": service.name,
            "version": version,
            "description": f"What the service {service.name} publishes, accepts and reads.",
        },
        "defaultContentType": CONTENT_TYPE,
        "channels": _channels(service, everything, requests),
        "operations": _operations(service, events, handled, requests),
        "components": {
            "messages": messages,
            "schemas": {**{name: _draft_7(each) for name, each in components.items()}, "CloudEvent": _envelope()},
            "correlationIds": {
                "correlation": {
                    "description": "The same in all messages that follow from one cause.",
                    "location": "$message.payload#/correlationid",
                }
            },
        },
    }


def _channels(
    service: Service, everything: Sequence[MessageType], requests: Sequence[MessageType]
) -> dict[str, dict[str, Any]]:
    channels: dict[str, dict[str, Any]] = {}
    for each in everything:
        channel = channels.setdefault(each.topic, _channel(each.topic))
        channel["messages"][_id(each)] = {"$ref": f"#/components/messages/{_id(each)}"}
    if requests:
        replies = _channel(_replies(service))
        channels[_replies(service)] = {**replies, "messages": {_REPLY: {"$ref": f"#/components/messages/{_REPLY}"}}}
    if any(each.kind is MessageKind.COMMAND and each.service == service.name for each in everything):
        channels["replies"] = {
            "address": None,
            "description": "The topic of the reply: the attribute `replyto` of the request.",
            "messages": {_REPLY: {"$ref": f"#/components/messages/{_REPLY}"}},
        }
    return dict(sorted(channels.items()))


def _operations(
    service: Service,
    events: Sequence[MessageType],
    handled: Sequence[MessageType],
    requests: Sequence[MessageType],
) -> dict[str, dict[str, Any]]:
    operations: dict[str, dict[str, Any]] = {}
    for topic, messages in _by_topic(events).items():
        operations[f"publish-{topic}"] = _operation("send", topic, messages, "Publishes events.")
    for topic, messages in _by_topic(handled).items():
        commands = messages[0].kind is MessageKind.COMMAND
        summary = "Handles commands." if commands else "Reads events of other services."
        operation = _operation("receive", topic, messages, summary)
        if commands:
            operation["reply"] = {
                "address": {"location": "$message.payload#/replyto"},
                "channel": {"$ref": "#/channels/replies"},
            }
        operations[f"{'accept' if commands else 'read'}-{topic}"] = operation
    for topic, messages in _by_topic(requests).items():
        operation = _operation("send", topic, messages, "Sends a command, as a step of a saga.")
        operation["reply"] = {"channel": {"$ref": f"#/channels/{_replies(service)}"}}
        operations[f"ask-{topic}"] = operation
    return operations


def _operation(action: str, topic: str, messages: Sequence[MessageType], summary: str) -> dict[str, Any]:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{topic}"},
        "summary": summary,
        "messages": [{"$ref": f"#/channels/{topic}/messages/{_id(each)}"} for each in messages],
    }


def _channel(topic: str) -> dict[str, Any]:
    return {"address": topic, "messages": {}}


def _message(declared: MessageType, body: Schema) -> dict[str, Any]:
    summary = (declared.cls.__doc__ or "").strip().partition("\n")[0]
    fixed = {
        "type": {"const": declared.name},
        "schemaversion": {"const": declared.version},
        "kind": {"const": declared.kind.value},
        "data": body,
    }
    message = {
        "name": declared.name,
        "title": f"{declared.name} version {declared.version}",
        "contentType": CONTENT_TYPE,
        "correlationId": {"$ref": "#/components/correlationIds/correlation"},
        "payload": {"allOf": [{"$ref": _REFS.format(name="CloudEvent")}, {"type": "object", "properties": fixed}]},
    }
    if summary:
        message["summary"] = summary
    if declared.key is not None:
        message["description"] = f"Messages of one `{declared.key}` keep their order."
    return message


def _reply_message() -> dict[str, Any]:
    fixed = {"kind": {"const": MessageKind.REPLY.value}}
    return {
        "name": _REPLY,
        "title": "the reply to a command",
        "summary": "The header `freehold-outcome` contains the outcome: done, rejected, cancelled or no-effect.",
        "contentType": CONTENT_TYPE,
        "correlationId": {"$ref": "#/components/correlationIds/correlation"},
        "payload": {"allOf": [{"$ref": _REFS.format(name="CloudEvent")}, {"type": "object", "properties": fixed}]},
    }


def _envelope() -> Schema:
    """The schema of a CloudEvents 1.0 document with Freehold's attributes."""
    return {
        "title": "CloudEvent",
        "description": "CloudEvents 1.0 in structured mode, with Freehold's extension attributes.",
        "type": "object",
        "properties": {
            "specversion": {"const": "1.0"},
            "id": {**_UUID, "description": "Unique; a redelivered message has the same."},
            "source": {**_TEXT, "description": "The service that sent it."},
            "type": {**_TEXT, "description": "The declared name."},
            "schemaversion": {"type": "integer", "minimum": 1, "description": "The declared version."},
            "time": {"type": "string", "format": "date-time"},
            "datacontenttype": {"const": "application/json"},
            "kind": {"enum": [each.value for each in MessageKind]},
            "topic": _TEXT,
            "partitionkey": {**_TEXT, "description": "Messages of one topic and key keep their order."},
            "hlc": {**_TEXT, "description": "Hybrid-logical-clock stamp of the sending commit."},
            "correlationid": _UUID,
            "causationid": {**_UUID, "description": "The id of the message that caused this one."},
            "subject": _TEXT,
            "traceparent": {**_TEXT, "description": "W3C trace context of the code that published it."},
            "tracestate": {**_TEXT, "description": "What tracers added to the trace context."},
            "replyto": {**_TEXT, "description": "The topic for the reply."},
            "idempotencykey": {**_TEXT, "description": "The same in all attempts of one request."},
            "compensates": {**_TEXT, "description": "The idempotency key of the action that this compensates."},
            "consistencytoken": {
                **_TEXT,
                "description": "Positions that a reader must reach to see the sender's writes.",
            },
            "lane": {**_TEXT, "description": "The partition of the sender's outbox that it came from."},
            "sequence": {**_TEXT, "description": "Its position in the lane."},
            "watermark": {**_TEXT, "description": "The position up to which all messages of the lane were sent."},
            "headers": {"type": "object", "additionalProperties": _TEXT},
            "data": {"description": "The body."},
        },
        "required": [
            "specversion",
            "id",
            "source",
            "type",
            "schemaversion",
            "time",
            "kind",
            "topic",
            "partitionkey",
            "hlc",
            "correlationid",
            "data",
        ],
    }


def _draft_7(schema: Any) -> Any:
    """A schema in AsyncAPI's dialect: tuples as in draft 7, and no `discriminator`, which has another meaning there.
    The options of a union still differ by the constant value of their tag.
    """
    if isinstance(schema, list):
        return [_draft_7(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made = {name: _draft_7(each) for name, each in schema.items()}
    if "mapping" in made.get("discriminator", {}):
        del made["discriminator"]
    if isinstance(schema.get("prefixItems"), list):
        rest = made.pop("items", True)
        made["items"] = made.pop("prefixItems")
        made["additionalItems"] = rest
    return made


def requests_of(service: Service) -> set[MessageType]:
    """The commands that the service's sagas send, including compensations."""
    return {
        message_type(each)
        for saga in service.sagas.values()
        for step in saga.definition().steps
        if step.kind is StepKind.COMMAND
        for each in (step.action, step.compensation)
        if each is not None
    }


def _ordered(messages: Iterable[MessageType]) -> list[MessageType]:
    return sorted(messages, key=lambda each: (each.topic, each.name, each.version))


def _by_topic(messages: Sequence[MessageType]) -> dict[str, list[MessageType]]:
    topics: dict[str, list[MessageType]] = {}
    for each in messages:
        topics.setdefault(each.topic, []).append(each)
    return topics


def _replies(service: Service) -> str:
    return f"{service.name}.replies"


def _id(declared: MessageType) -> str:
    return f"{declared.name}.{declared.version}"
