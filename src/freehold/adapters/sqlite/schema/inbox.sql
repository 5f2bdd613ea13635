-- Receipts of handled messages; `cancelled` where a compensation wrote the receipt in place of its action.
CREATE TABLE freehold_inbox (
    consumer TEXT NOT NULL,
    receipt_key TEXT NOT NULL,
    cancelled INTEGER NOT NULL,
    answer BLOB,
    received_at INTEGER NOT NULL,
    PRIMARY KEY (consumer, receipt_key)
) WITHOUT ROWID;
-- Each consumer prunes its own receipts: several may share a database, with windows of their own.
CREATE INDEX freehold_inbox_consumer_received ON freehold_inbox (consumer, received_at);
-- Messages kept for a later try. AUTOINCREMENT: a position is never used again, also after the table ran empty.
-- `lane_position`: where the message stands in its lane; until it is handled, nothing from there on is complete.
-- `waiting`: was due and not the first of its key when it was looked at. Whoever finishes the first wakes the next, so
-- that a look for what is due does not go through all that stands behind one message, again and again.
CREATE TABLE freehold_deferred (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    consumer TEXT NOT NULL,
    topic TEXT NOT NULL,
    key TEXT NOT NULL,
    receipt_key TEXT NOT NULL,
    document BLOB NOT NULL,
    attempts INTEGER NOT NULL,
    due_at INTEGER NOT NULL,
    deferred_at INTEGER NOT NULL,
    reason TEXT NOT NULL,
    lane TEXT,
    lane_position INTEGER,
    waiting INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX freehold_deferred_key ON freehold_deferred (consumer, topic, key, position);
CREATE INDEX freehold_deferred_due ON freehold_deferred (consumer, due_at) WHERE waiting = 0;
CREATE INDEX freehold_deferred_lane ON freehold_deferred (consumer, lane, lane_position) WHERE lane IS NOT NULL;
