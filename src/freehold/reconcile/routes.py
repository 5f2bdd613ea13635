"""The routes by which other services read the digests and rows of a service's published datasets. Face: imports its
package, FastAPI and the runtime.

They are for services of one system only: every request has a proof that is derived from the shared `token_secret`.
Without a secret every request is refused.
"""

from __future__ import annotations

import hmac
from typing import Any

import msgspec
from fastapi import APIRouter, Request, Response

from freehold.consistency.signer import split_secrets
from freehold.http.problems import problem
from freehold.messages.texts import unstorable_text
from freehold.reconcile.dataset_store import DATASETS
from freehold.reconcile.peer import PEER_HEADER, DatasetQuery, peer_proof
from freehold.reconcile.side import TableReader, publish_barrier
from freehold.runtime.running_service import RunningService

__all__ = ["router"]

_queries = msgspec.json.Decoder(DatasetQuery)


def router() -> APIRouter:
    """Make the routes; they respond with 404 for a dataset that the service does not publish."""
    routes = APIRouter(prefix="/freehold/datasets", include_in_schema=False)
    routes.add_api_route("/{name}/{what}", _respond, methods=["POST"], response_model=None)
    return routes


async def _respond(name: str, what: str, request: Request) -> Response:
    running: RunningService = request.app.state.freehold
    if not _is_peer(running, request):
        return problem(403, "only services of this system may read datasets")
    table = running.service.published_datasets.get(name)
    if table is None:
        return problem(404, "this service publishes no such dataset")
    reader = TableReader(running.stores[DATASETS], table)
    query = _query(await request.body())
    if query is None:
        return problem(400, "the body is not a dataset query")
    if (query.key, query.fields, query.kinds) != (table.dataset.key, table.dataset.fields, table.dataset.kinds):
        return problem(409, "the dataset has other fields here")
    result: Any
    match what:
        case "digest":
            result = await reader.digest(query.after, query.through, query.limit)
        case "keys":
            result = await reader.keys(query.after, query.through, query.limit)
        case "rows":
            result = await reader.rows(query.keys)
        case "barrier":
            result = {"token": (await publish_barrier(running.transactions)).text}
        case _:
            return problem(404)
    return Response(msgspec.json.encode(result), media_type="application/json")


def _query(body: bytes) -> DatasetQuery | None:
    """The query; None for an invalid one, or one with a key that no database can store."""
    try:
        query = _queries.decode(body or b"{}")
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return None if unstorable_text([query.after, query.through, *query.keys]) is not None else query


def _is_peer(running: RunningService, request: Request) -> bool:
    given = request.headers.get(PEER_HEADER, "")
    secrets = split_secrets(running.settings.token_secret)
    return any(hmac.compare_digest(given.encode(), peer_proof(secret).encode()) for secret in secrets)
