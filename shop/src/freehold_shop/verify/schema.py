"""The tables of the scratch database, with the data of all services. Imports nothing.

`customer_order.settled` is 1 where the order has ended long enough ago for all its consequences; the comparisons
between services use these orders only. `moment.quiet` is 1 where nothing moved when the reading began; otherwise the
effects of what happened since `moment.settled_ms`, and of messages with the keys in `unsettled`, may still be in
transit. The `..._at_ms` columns are milliseconds since 1970; for a message, when the broker stored it.
"""

from __future__ import annotations

__all__ = ["SCHEMA"]

SCHEMA = """
CREATE TABLE moment (now_ms INTEGER, quiet INTEGER, settled_ms INTEGER);
CREATE TABLE unsettled (key TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE customer_order (
    order_id TEXT PRIMARY KEY, customer_id TEXT, checkout TEXT, status TEXT, total_pence INTEGER,
    pieces INTEGER, returned_pieces INTEGER, line_pence INTEGER, placed_at_ms INTEGER, changed_at_ms INTEGER,
    sold INTEGER, ended INTEGER, settled INTEGER
) WITHOUT ROWID;
CREATE TABLE order_return (
    return_ref TEXT, order_id TEXT, refund_pence INTEGER, pieces INTEGER, ended INTEGER, requested_at_ms INTEGER,
    PRIMARY KEY (return_ref, order_id)
) WITHOUT ROWID;
CREATE TABLE sold (sku TEXT PRIMARY KEY, pieces INTEGER) WITHOUT ROWID;
CREATE TABLE request (key TEXT PRIMARY KEY, order_id TEXT) WITHOUT ROWID;
CREATE TABLE saga (id TEXT, definition TEXT, order_id TEXT, status TEXT, failure TEXT);
CREATE INDEX saga_by_order ON saga (order_id);

CREATE TABLE payment (
    order_id TEXT PRIMARY KEY, status TEXT, amount_pence INTEGER, captured_pence INTEGER, refunded_pence INTEGER,
    refund_rows_pence INTEGER
) WITHOUT ROWID;
CREATE TABLE ledger (
    order_id TEXT PRIMARY KEY, held_pence INTEGER, captured_pence INTEGER, refunded_pence INTEGER,
    voided_pence INTEGER, emails INTEGER
) WITHOUT ROWID;
CREATE TABLE ledger_total (captured_pence INTEGER, refunded_pence INTEGER);

CREATE TABLE stock (sku TEXT PRIMARY KEY, on_hand INTEGER, reserved INTEGER) WITHOUT ROWID;
CREATE TABLE moved (
    sku TEXT, reason TEXT, on_hand INTEGER, reserved INTEGER, PRIMARY KEY (sku, reason)
) WITHOUT ROWID;
CREATE TABLE moved_by_reference (
    reference TEXT, reason TEXT, on_hand INTEGER, reserved INTEGER, PRIMARY KEY (reference, reason)
) WITHOUT ROWID;
CREATE TABLE reservation (order_id TEXT PRIMARY KEY, status TEXT, pieces INTEGER) WITHOUT ROWID;
CREATE TABLE held_line (sku TEXT, order_id TEXT, pieces INTEGER);

CREATE TABLE shipment (order_id TEXT PRIMARY KEY, status TEXT) WITHOUT ROWID;
CREATE TABLE notification (order_id TEXT, template TEXT);

CREATE TABLE message (
    id TEXT, receipt_key TEXT, topic TEXT, type TEXT, kind TEXT, key TEXT, at_ms INTEGER
);
CREATE INDEX message_by_key ON message (key, type);
CREATE TABLE broker_span (first_at_ms INTEGER, complete INTEGER);
CREATE TABLE restored_span (first_at_ms INTEGER);
CREATE TABLE subscription (service TEXT, topic TEXT, type TEXT, PRIMARY KEY (topic, type, service)) WITHOUT ROWID;
CREATE TABLE receipt (
    service TEXT, receipt_key TEXT, copies INTEGER, PRIMARY KEY (service, receipt_key)
) WITHOUT ROWID;
CREATE TABLE waiting (service TEXT, place TEXT, id TEXT, key TEXT, since_ms INTEGER, detail TEXT);

CREATE TABLE source_fact (kind TEXT, id TEXT, facts TEXT, PRIMARY KEY (kind, id)) WITHOUT ROWID;
CREATE TABLE copied_fact (
    service TEXT, kind TEXT, id TEXT, facts TEXT, PRIMARY KEY (kind, id, service)
) WITHOUT ROWID;
CREATE TABLE service_fact (kind TEXT, order_id TEXT, id TEXT, facts TEXT, PRIMARY KEY (kind, id)) WITHOUT ROWID;
CREATE TABLE overview_fact (kind TEXT, order_id TEXT, id TEXT, facts TEXT, PRIMARY KEY (kind, id)) WITHOUT ROWID;
CREATE TABLE folded (service TEXT, model TEXT, id TEXT, facts TEXT, PRIMARY KEY (model, id)) WITHOUT ROWID;
CREATE TABLE modelled (service TEXT, model TEXT, id TEXT, facts TEXT, PRIMARY KEY (model, id)) WITHOUT ROWID;
CREATE TABLE broken_stream (service TEXT, stream TEXT, what TEXT);
CREATE TABLE kept (id TEXT, copies INTEGER, PRIMARY KEY (id)) WITHOUT ROWID;
CREATE TABLE engine_finding (service TEXT, what TEXT);
"""
