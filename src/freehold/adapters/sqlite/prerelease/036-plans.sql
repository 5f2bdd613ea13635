-- Dead letters are searched by type, consumer or reason, the newest first.
DROP INDEX freehold_dead_letter_reason;
CREATE INDEX freehold_dead_letter_reason ON freehold_dead_letter (status, reason, failed_at, id);
CREATE INDEX freehold_dead_letter_type ON freehold_dead_letter (status, type, failed_at, id);
CREATE INDEX freehold_dead_letter_consumer ON freehold_dead_letter (status, consumer, failed_at, id);
-- Sagas are searched by status or definition, the newest first.
DROP INDEX freehold_saga_status;
CREATE INDEX freehold_saga_status ON freehold_saga (definition, status, created_at, id);
CREATE INDEX freehold_saga_state ON freehold_saga (status, created_at, id);
CREATE INDEX freehold_replay_ended ON freehold_replay (updated_at) WHERE state <> 'running' AND tables = '[]';
-- `waiting`: a claim found the message due, but not the first of its key. When the first one is finished, the mark of
-- the next is removed. So a claim does not read all messages behind one that keeps failing.
ALTER TABLE freehold_deferred ADD COLUMN waiting INTEGER NOT NULL DEFAULT 0;
DROP INDEX freehold_deferred_due;
CREATE INDEX freehold_deferred_due ON freehold_deferred (consumer, due_at) WHERE waiting = 0;
