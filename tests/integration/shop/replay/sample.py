"""A small retail file with everything in it: orders, returns that match, in part or not at all, and dirty rows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from freehold_shop.retail import HEADER

__all__ = ["DECLINED_CUSTOMER", "SALES", "SAMPLE", "Expected", "write_many", "write_sample"]

DECLINED_CUSTOMER = "13"
SALES = 12


@dataclass(frozen=True)
class Expected:
    """What a replay of the sample comes to, where the payments of `DECLINED_CUSTOMER` are declined."""

    rows_read: int
    orders_placed: int
    confirmed: int
    cancelled: dict[str, int]
    returned: int
    rows_rejected: dict[str, int]


def _sales() -> list[str]:
    return [
        f"{600_000 + n},SKU{n % 4 + line},THING {n % 4 + line},{2 + line},2010-12-01 08:{n:02d}:00,{1 + line}.50,"
        f"{DECLINED_CUSTOMER if n == 5 else 10 + n % 3},France"
        for n in range(SALES)
        for line in range(3)
    ]


_RETURNS = [
    "C600100,SKU0,THING 0,-1,2010-12-02 09:00:00,1.50,10,France",  # matches
    "C600101,SKU1,THING 1,-2,2010-12-02 09:01:00,1.50,11,France",  # matches
    "C600101,NEVER,NEVER SOLD,-2,2010-12-02 09:01:00,1.50,11,France",  # the rest of it does not
    "C600102,SKU1,THING 1,-1,2010-12-02 09:02:00,1.50,99,France",  # a customer who bought nothing
]
_DIRTY = [
    "600200,SKU1,NO CUSTOMER,2,2010-12-02 09:03:00,1.50,,France",
    "600201,SKU1,NOTHING,0,2010-12-02 09:04:00,1.50,10,France",
    "600202,SKU1,FREE,1,2010-12-02 09:05:00,0.00,10,France",
    "600203,SKU1,BROKEN,1",
]
_LATER = ["600300,SKU1,THING 1,1,2010-12-03 09:00:00,1.50,11,France"]

SAMPLE = Expected(
    rows_read=SALES * 3 + len(_RETURNS) + len(_DIRTY) + len(_LATER),
    orders_placed=SALES + 1,
    confirmed=SALES,
    cancelled={"declined": 1},
    returned=2,
    rows_rejected={
        "broken-line": 1,
        "no-customer": 1,
        "non-positive-price": 1,
        "non-positive-quantity": 1,
        "return-without-sale": 2,
    },
)


def write_sample(path: Path, digit: str = "6") -> Path:
    """Write the sample; `digit` is the first of each number of an order or a return, and makes others of them."""
    rows = [*_sales(), *_RETURNS, *_DIRTY, *_LATER]
    return _write(path, [row.replace("6", digit, 1) for row in rows])


def write_many(path: Path, orders: int, first: int = 0) -> Path:
    """Write so many small orders of ten customers, every fifth of them with a return right behind."""
    rows: list[str] = []
    for n in range(first, first + orders):
        customer = 10 + n % 10
        rows.append(f"{700_000 + n},SKU{n % 9},THING,2,2010-12-01 08:00:00,2.00,{customer},France")
        if n % 5 == 4:
            rows.append(f"C{800_000 + n},SKU{n % 9},THING,-1,2010-12-01 09:00:00,2.00,{customer},France")
    return _write(path, rows)


def _write(path: Path, rows: list[str]) -> Path:
    path.write_text("\n".join([",".join(HEADER), *rows]) + "\n", encoding="utf-8")
    return path
