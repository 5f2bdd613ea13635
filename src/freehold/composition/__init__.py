"""API composition: one response built from several services, in parallel, batched, within one time budget, and without
optional parts that fail.

Applications use `declaration.py` and `sources.py`; `composer.py` executes them. `fetch.py` is the port to the services
and `http.py` its adapter. `breaker.py` decides when to stop calls. Imports the foundation only.
"""

from freehold.composition.breaker import BreakerPhase, BreakerPolicy
from freehold.composition.budget import BUDGET_HEADER, Budget, within
from freehold.composition.cache import Cached, CachePolicy, Freshness, ReferenceCache
from freehold.composition.client import BreakerView
from freehold.composition.composer import Composed, Composer, CompositionFailed, MergeHeaders, Missing
from freehold.composition.declaration import Composition, Part, PartInputs
from freehold.composition.disconnect import ClientDisconnected, while_connected
from freehold.composition.fetch import CallFailed, Fetch, InvalidRequest, Reason, Reply, Request, UnusableReply
from freehold.composition.http import HttpFetch
from freehold.composition.loader import Loader
from freehold.composition.middleware import BudgetMiddleware
from freehold.composition.paths import fits_path
from freehold.composition.sources import Batch, Read, Reference, Source, batch, grouped_batch

__all__ = [
    "BUDGET_HEADER",
    "Batch",
    "BreakerPhase",
    "BreakerPolicy",
    "BreakerView",
    "Budget",
    "BudgetMiddleware",
    "CachePolicy",
    "Cached",
    "CallFailed",
    "ClientDisconnected",
    "Composed",
    "Composer",
    "Composition",
    "CompositionFailed",
    "Fetch",
    "Freshness",
    "HttpFetch",
    "InvalidRequest",
    "Loader",
    "MergeHeaders",
    "Missing",
    "Part",
    "PartInputs",
    "Read",
    "Reason",
    "Reference",
    "ReferenceCache",
    "Reply",
    "Request",
    "Source",
    "UnusableReply",
    "batch",
    "fits_path",
    "grouped_batch",
    "while_connected",
    "within",
]
