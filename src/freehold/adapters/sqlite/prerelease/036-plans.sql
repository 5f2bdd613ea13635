-- Letters are looked for by what they are: the newest of a type, of a consumer, of a reason.
DROP INDEX freehold_dead_letter_reason;
CREATE INDEX freehold_dead_letter_reason ON freehold_dead_letter (status, reason, failed_at, id);
CREATE INDEX freehold_dead_letter_type ON freehold_dead_letter (status, type, failed_at, id);
CREATE INDEX freehold_dead_letter_consumer ON freehold_dead_letter (status, consumer, failed_at, id);
-- Sagas too: the newest of a status, of a definition.
DROP INDEX freehold_saga_status;
CREATE INDEX freehold_saga_status ON freehold_saga (definition, status, created_at, id);
CREATE INDEX freehold_saga_state ON freehold_saga (status, created_at, id);
CREATE INDEX freehold_replay_ended ON freehold_replay (updated_at) WHERE state <> 'running' AND tables = '[]';
-- `waiting`: was due and not the first of its key when it was looked at. Whoever finishes the first wakes the next, so that
-- a look for what is due does not go through all that stands behind one message, again and again.
ALTER TABLE freehold_deferred ADD COLUMN waiting INTEGER NOT NULL DEFAULT 0;
DROP INDEX freehold_deferred_due;
CREATE INDEX freehold_deferred_due ON freehold_deferred (consumer, due_at) WHERE waiting = 0;
