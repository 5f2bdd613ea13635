"""The checks, by subject. Each is a small function from the scratch database to a `Check`."""

from collections.abc import Callable, Sequence

from freehold_shop.verify.checks.copies import COPY_CHECKS
from freehold_shop.verify.checks.engines import ENGINE_CHECKS
from freehold_shop.verify.checks.messages import MESSAGE_CHECKS
from freehold_shop.verify.checks.models import MODEL_CHECKS
from freehold_shop.verify.checks.money import MONEY_CHECKS
from freehold_shop.verify.checks.orders import ORDER_CHECKS
from freehold_shop.verify.checks.sagas import SAGA_CHECKS
from freehold_shop.verify.checks.stock import STOCK_CHECKS
from freehold_shop.verify.model import Check
from freehold_shop.verify.scratch import Scratch

__all__ = ["ALL_CHECKS"]

ALL_CHECKS: Sequence[Callable[[Scratch], Check]] = (
    *MONEY_CHECKS,
    *STOCK_CHECKS,
    *ORDER_CHECKS,
    *SAGA_CHECKS,
    *MESSAGE_CHECKS,
    *COPY_CHECKS,
    *MODEL_CHECKS,
    *ENGINE_CHECKS,
)
