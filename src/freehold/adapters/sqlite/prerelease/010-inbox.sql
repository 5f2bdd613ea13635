-- Receipts of handled messages. `barred`: a compensation wrote the receipt in place of its action.
CREATE TABLE freehold_inbox (
    consumer TEXT NOT NULL,
    receipt_key TEXT NOT NULL,
    barred INTEGER NOT NULL,
    answer BLOB,
    received_at INTEGER NOT NULL,
    PRIMARY KEY (consumer, receipt_key)
) WITHOUT ROWID;
CREATE INDEX freehold_inbox_received ON freehold_inbox (received_at);
-- Deferred messages. AUTOINCREMENT: a position is never used twice, even after the table was empty.
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
    reason TEXT NOT NULL
);
CREATE INDEX freehold_deferred_key ON freehold_deferred (consumer, topic, key, position);
CREATE INDEX freehold_deferred_due ON freehold_deferred (consumer, due_at);
