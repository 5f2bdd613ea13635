-- Dead letters. `ended_at` is set when an operator replayed or dropped one; pruning uses it.
CREATE TABLE freehold_dead_letter (
    id TEXT PRIMARY KEY,
    direction TEXT NOT NULL,
    consumer TEXT NOT NULL,
    topic TEXT NOT NULL,
    key TEXT NOT NULL,
    message_id TEXT,
    type TEXT NOT NULL,
    reason TEXT NOT NULL,
    error_type TEXT NOT NULL,
    detail TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    failed_at INTEGER NOT NULL,
    status TEXT NOT NULL DEFAULT 'dead' CHECK (status IN ('dead', 'replayed', 'dropped')),
    document BLOB NOT NULL,
    edited BLOB,
    replayed_as TEXT,
    ended_at INTEGER
);
CREATE INDEX freehold_dead_letter_newest ON freehold_dead_letter (failed_at, id);
CREATE INDEX freehold_dead_letter_status ON freehold_dead_letter (status, failed_at, id);
CREATE INDEX freehold_dead_letter_reason ON freehold_dead_letter (reason) WHERE status = 'dead';
CREATE INDEX freehold_dead_letter_ended ON freehold_dead_letter (ended_at) WHERE ended_at IS NOT NULL;
