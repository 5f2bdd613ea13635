-- Receipts of handled messages. `cancelled`: a compensation wrote the receipt in place of its action.
CREATE TABLE freehold_inbox (
    consumer TEXT NOT NULL,
    receipt_key TEXT NOT NULL,
    cancelled INTEGER NOT NULL,
    answer BLOB,
    received_at INTEGER NOT NULL,
    PRIMARY KEY (consumer, receipt_key)
) WITHOUT ROWID;
-- Each consumer prunes its own receipts: several consumers may share a database and have different windows.
CREATE INDEX freehold_inbox_consumer_received ON freehold_inbox (consumer, received_at);
-- Deferred messages. AUTOINCREMENT: a position is never used twice, even after the table was empty.
-- `lane_position`: the position of the message in its lane. Until it is handled, the consumer has not reached it.
-- `waiting`: a claim found the message due, but not the first of its key. When the first one is finished, the mark of
-- the next is removed. So a claim does not read all messages behind one that keeps failing.
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
