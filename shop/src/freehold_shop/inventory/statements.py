"""The SQL that moves stock, for all lines of an order at once, whatever their number. Imports nothing.

The lines are passed as one JSON document (`domain.lines_document`), which the database turns into rows. PostgreSQL does
in one statement what takes SQLite several; those of SQLite run inside this process and cost very little.

Parameters of a movement, in this order: the factors for `on_hand` and `reserved`, the reason, the reference, and the
time in ms.
"""

from __future__ import annotations

__all__ = [
    "POSTGRES_CLAIM",
    "POSTGRES_LEAVE_HELD",
    "POSTGRES_MOVE",
    "POSTGRES_MOVE_IF_THERE",
    "POSTGRES_RECEIVE",
    "POSTGRES_TAKE_TURN",
    "RECEIPT_CLAIM",
    "RESERVATION_FIND",
    "RESERVATION_SET_STATUS",
    "SQLITE_CLAIM",
    "SQLITE_COUNT_SHORT",
    "SQLITE_LEAVE_HELD",
    "SQLITE_MOVE",
    "SQLITE_RECEIVE",
    "SQLITE_RECORD",
]

RESERVATION_FIND = "SELECT status, lines FROM reservation WHERE order_id = $1"
RESERVATION_SET_STATUS = "UPDATE reservation SET status = $2, changed_at_ms = $3 WHERE order_id = $1"
RECEIPT_CLAIM = "INSERT INTO stock_receipt (receipt_ref) VALUES ($1) ON CONFLICT DO NOTHING"

# One transaction handles a batch of orders, and most orders have some popular product: concurrent transactions would
# deadlock on its row. So each takes this lock, the turn, before it moves stock. A statement that itself takes the turn
# has its snapshot from before the wait, so it may depend only on rows that it inserts or updates: PostgreSQL reads
# those again.
_TURN = "SELECT 1 AS taken FROM pg_advisory_xact_lock(hashtextextended('inventory.stock', 0))"

POSTGRES_TAKE_TURN = _TURN

POSTGRES_CLAIM = f"""
WITH turn AS MATERIALIZED ({_TURN})
INSERT INTO reservation (order_id, status, lines, expiry_id, changed_at_ms)
SELECT $1::text, $2::text, $3::text, $4::text, $5::bigint FROM turn
ON CONFLICT DO NOTHING"""

SQLITE_CLAIM = """
INSERT INTO reservation (order_id, status, lines, expiry_id, changed_at_ms)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT DO NOTHING"""

_MOVED = """
    UPDATE stock SET
        on_hand = stock.on_hand + line.quantity * {on_hand},
        reserved = stock.reserved + line.quantity * {reserved}
    FROM line WHERE stock.sku = line.sku{also}"""

_RECORDED = """
    INSERT INTO stock_movement (sku, delta_on_hand, delta_reserved, reason, reference, at_ms)
    SELECT sku, quantity * {on_hand}, quantity * {reserved}, {reason}, {reference}, {at_ms} FROM line"""

_FACTORS = {"on_hand": "$2::bigint", "reserved": "$3::bigint"}
# PostgreSQL estimates a hundred lines for every document, and would scan the whole stock table for so many.
_BY_INDEX = " AND stock.sku = ANY (ARRAY(SELECT sku FROM line))"
_NOTE = {"reason": "$4::text", "reference": "$5::text", "at_ms": "$6::bigint"}

_POSTGRES_LINE = """
line AS MATERIALIZED (
    SELECT value ->> 0 AS sku, (value ->> 1)::bigint AS quantity
    FROM json_array_elements($1::text::json) AS given (value)
)"""

POSTGRES_MOVE = f"""
WITH {_POSTGRES_LINE},
moved AS ({_MOVED.format(**_FACTORS, also=_BY_INDEX)}
)
{_RECORDED.format(**_FACTORS, **_NOTE)}"""

# Only after an earlier statement has taken the turn: it reads the free stock, which nothing else may move meanwhile.
POSTGRES_MOVE_IF_THERE = f"""
WITH {_POSTGRES_LINE},
short AS MATERIALIZED (
    SELECT count(*) AS lines FROM line LEFT JOIN stock ON stock.sku = line.sku{_BY_INDEX}
    WHERE coalesce(stock.on_hand - stock.reserved, 0) < line.quantity
),
moved AS ({_MOVED.format(**_FACTORS, also=_BY_INDEX)} AND (SELECT lines FROM short) = 0
),
recorded AS ({_RECORDED.format(**_FACTORS, **_NOTE)} WHERE (SELECT lines FROM short) = 0
)
SELECT lines FROM short"""

POSTGRES_LEAVE_HELD = f"""
WITH turn AS MATERIALIZED ({_TURN}),
ended AS (
    UPDATE reservation SET status = $7::text, changed_at_ms = $6::bigint
    FROM turn WHERE order_id = $1::text AND status = 'held'
    RETURNING lines, expiry_id
),
line AS MATERIALIZED (
    SELECT value ->> 0 AS sku, (value ->> 1)::bigint AS quantity
    FROM ended CROSS JOIN LATERAL json_array_elements(ended.lines::json) AS given (value)
),
moved AS ({_MOVED.format(**_FACTORS, also=_BY_INDEX)}
),
recorded AS ({_RECORDED.format(**_FACTORS, **_NOTE)}
)
SELECT expiry_id FROM ended"""

POSTGRES_RECEIVE = f"""
WITH {_POSTGRES_LINE},
shelved AS (
    INSERT INTO stock (sku, on_hand, reserved) SELECT sku, quantity, 0 FROM line
    ON CONFLICT (sku) DO UPDATE SET on_hand = stock.on_hand + excluded.on_hand
)
{_RECORDED.format(**_FACTORS, **_NOTE)}"""

_SQLITE_LINE = "WITH line AS (SELECT value ->> 0 AS sku, value ->> 1 AS quantity FROM json_each($1))"

SQLITE_COUNT_SHORT = f"""
{_SQLITE_LINE}
SELECT count(*) FROM line LEFT JOIN stock ON stock.sku = line.sku
WHERE coalesce(stock.on_hand - stock.reserved, 0) < line.quantity"""

SQLITE_MOVE = f"{_SQLITE_LINE}{_MOVED.format(on_hand='$2', reserved='$3', also='')}"

SQLITE_RECORD = (
    f"""{_SQLITE_LINE}{_RECORDED.format(on_hand="$2", reserved="$3", reason="$4", reference="$5", at_ms="$6")}"""
)

SQLITE_LEAVE_HELD = """
UPDATE reservation SET status = $2, changed_at_ms = $3 WHERE order_id = $1 AND status = 'held'
RETURNING lines, expiry_id"""

SQLITE_RECEIVE = f"""
{_SQLITE_LINE}
INSERT INTO stock (sku, on_hand, reserved) SELECT sku, quantity, 0 FROM line WHERE true
ON CONFLICT (sku) DO UPDATE SET on_hand = stock.on_hand + excluded.on_hand"""
