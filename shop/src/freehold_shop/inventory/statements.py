"""The SQL that moves stock, for all lines of an order at once, whatever their number. Imports the tables' collation.

The lines are passed as one JSON document (`domain.lines_document`), which the database turns into rows. PostgreSQL does
in one statement what takes SQLite and MariaDB several; those of SQLite run inside this process and cost very little.

Parameters of a movement, in this order: the factors for `on_hand` and `reserved`, the reason, the reference, and the
time in ms.
"""

from __future__ import annotations

from dataclasses import dataclass

from freehold_shop.columns import BY_CODE_POINT

__all__ = [
    "MARIADB",
    "POSTGRES_CLAIM",
    "POSTGRES_LEAVE_HELD",
    "POSTGRES_MOVE",
    "POSTGRES_MOVE_IF_THERE",
    "POSTGRES_RECEIVE",
    "POSTGRES_TAKE_TURN",
    "RECEIPT_CLAIM",
    "RESERVATION_COLUMNS",
    "RESERVATION_FIND",
    "RESERVATION_FIND_HELD",
    "RESERVATION_SET_STATUS",
    "SQLITE",
    "Statements",
]

# MariaDB reserves the name `lines`, but for a column with its table's name before it.
RESERVATION_FIND = "SELECT status, reservation.lines FROM reservation WHERE order_id = $1"
RESERVATION_FIND_HELD = "SELECT reservation.lines, expiry_id FROM reservation WHERE order_id = $1 AND status = 'held'"
RESERVATION_COLUMNS = ("order_id", "status", "lines", "expiry_id", "changed_at_ms")
RESERVATION_SET_STATUS = "UPDATE reservation SET status = $2, changed_at_ms = $3 WHERE order_id = $1"
RECEIPT_CLAIM = "INSERT INTO stock_receipt (receipt_ref) VALUES ($1)"

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

_MOVED = """
    UPDATE stock SET
        on_hand = stock.on_hand + line.quantity * {on_hand},
        reserved = stock.reserved + line.quantity * {reserved}
    FROM line WHERE stock.sku = line.sku{also}"""

_RECORDED = """
    INSERT INTO stock_movement (sku, delta_on_hand, delta_reserved, reason, reference, at_ms)
    SELECT sku, quantity * {on_hand}, quantity * {reserved}, {reason}, {reference}, {at_ms} FROM {line}"""

_FACTORS = {"on_hand": "$2::bigint", "reserved": "$3::bigint"}
# PostgreSQL estimates a hundred lines for every document, and would scan the whole stock table for so many.
_BY_INDEX = " AND stock.sku = ANY (ARRAY(SELECT sku FROM line))"
_NOTE = {"line": "line", "reason": "$4::text", "reference": "$5::text", "at_ms": "$6::bigint"}
_PLACES = {"on_hand": "$2", "reserved": "$3", "reason": "$4", "reference": "$5", "at_ms": "$6"}

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


@dataclass(frozen=True, slots=True)
class Statements:
    """The statements of an engine on which a movement takes several, which the turn keeps together.

    The lines are `$1` everywhere. `move` has the factors `$2` and `$3`; `record` has all parameters of a movement.
    """

    take_turn: str
    count_short: str
    move: str
    record: str
    receive: str


_SQLITE_LINE = "WITH line AS (SELECT value ->> 0 AS sku, value ->> 1 AS quantity FROM json_each($1))"
_SHORT = """
SELECT count(*) FROM {line} LEFT JOIN stock ON stock.sku = line.sku
WHERE coalesce(stock.on_hand - stock.reserved, 0) < line.quantity"""

SQLITE = Statements(
    take_turn="",
    count_short=f"{_SQLITE_LINE}{_SHORT.format(line='line')}",
    move=f"{_SQLITE_LINE}{_MOVED.format(on_hand='$2', reserved='$3', also='')}",
    record=f"{_SQLITE_LINE}{_RECORDED.format(line='line', **_PLACES)}",
    receive=f"""
{_SQLITE_LINE}
INSERT INTO stock (sku, on_hand, reserved) SELECT sku, quantity, 0 FROM line WHERE true
ON CONFLICT (sku) DO UPDATE SET on_hand = stock.on_hand + excluded.on_hand""",
)

_MARIADB_LINE = f"""
JSON_TABLE($1, '$[*]' COLUMNS (
    sku VARCHAR(255) {BY_CODE_POINT} PATH '$[0]', quantity BIGINT PATH '$[1]'
)) AS line"""

MARIADB = Statements(
    take_turn="SELECT id FROM stock_turn FOR UPDATE",
    count_short=_SHORT.format(line=_MARIADB_LINE),
    # STRAIGHT_JOIN: the few lines first, and each one's row by its key.
    move=f"""
UPDATE {_MARIADB_LINE} STRAIGHT_JOIN stock ON stock.sku = line.sku SET
    stock.on_hand = stock.on_hand + line.quantity * $2,
    stock.reserved = stock.reserved + line.quantity * $3""",
    record=_RECORDED.format(line=_MARIADB_LINE, **_PLACES),
    receive=f"""
INSERT INTO stock (sku, on_hand, reserved) SELECT sku, quantity, 0 FROM {_MARIADB_LINE}
ON DUPLICATE KEY UPDATE on_hand = stock.on_hand + VALUES(on_hand)""",
)
