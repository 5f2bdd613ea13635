"""What a service lets its replicas be compared with: digests and rows of the datasets it publishes. Face: imports its
package, FastAPI and the runtime.

For services of one system, not for the world: every request carries a proof that is derived from the shared
`token_secret`. Where there is no secret, nothing is offered.
"""

from __future__ import annotations

import hmac
from typing import Any

import msgspec
from fastapi import APIRouter, Request, Response

from freehold.http.problems import problem
from freehold.messages.texts import unstorable_text
from freehold.reconcile.dataset_store import DATASETS
from freehold.reconcile.peer import PEER_HEADER, DatasetQuery, peer_proof
from freehold.reconcile.side import TableReader, publish_barrier
from freehold.runtime.running_service import RunningService

__all__ = ["router"]

_queries = msgspec.json.Decoder(DatasetQuery)


def router() -> APIRouter:
    """The routes; they answer 404 where the service publishes nothing of the name."""
    routes = APIRouter(prefix="/freehold/datasets", include_in_schema=False)
    routes.add_api_route("/{name}/{what}", _answer, methods=["POST"], response_model=None)
    return routes


async def _answer(name: str, what: str, request: Request) -> Response:
    running: RunningService = request.app.state.freehold
    if not _is_peer(running, request):
        return problem(403, "only services of this system may ask")
    table = running.service.published_datasets.get(name)
    if table is None:
        return problem(404, "no such dataset is offered here")
    side = TableReader(running.stores[DATASETS], table)
    query = _query(await request.body())
    if query is None:
        return problem(400, "not a query of a dataset")
    if (query.key, query.fields, query.kinds) != (table.dataset.key, table.dataset.fields, table.dataset.kinds):
        return problem(409, "the dataset has other fields here")
    answer: Any
    match what:
        case "digest":
            answer = await side.digest(query.after, query.through, query.limit)
        case "keys":
            answer = await side.keys(query.after, query.through, query.limit)
        case "rows":
            answer = await side.rows(query.keys)
        case "barrier":
            answer = {"token": (await publish_barrier(running.transactions)).text}
        case _:
            return problem(404)
    return Response(msgspec.json.encode(answer), media_type="application/json")


def _query(body: bytes) -> DatasetQuery | None:
    """The query; None where it is none, or asks for a key that no database holds."""
    try:
        query = _queries.decode(body or b"{}")
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return None if unstorable_text([query.after, query.through, *query.keys]) is not None else query


def _is_peer(running: RunningService, request: Request) -> bool:
    given = request.headers.get(PEER_HEADER, "")
    secrets = [each.strip() for each in running.settings.token_secret.split(",") if each.strip()]
    return any(hmac.compare_digest(given.encode(), peer_proof(secret).encode()) for secret in secrets)
