-- The step to the tables of the first release: it changes stored names, and nothing else. The record of the steps
-- before it is replaced by the one of a database that the first release has made.
ALTER TABLE freehold_outbox_owed RENAME TO freehold_outbox_watermark;
ALTER TABLE freehold_inbox RENAME COLUMN barred TO cancelled;
ALTER TABLE freehold_lease RENAME COLUMN beat TO heartbeat;
ALTER TABLE freehold_checkpoint RENAME COLUMN begun TO started_position;
ALTER TABLE freehold_checkpoint RENAME COLUMN alone TO isolated_position;
ALTER TABLE freehold_checkpoint RENAME COLUMN attempts TO isolated_attempts;
ALTER TABLE freehold_parked RENAME COLUMN begun TO started_attempts;
ALTER TABLE freehold_progress RENAME COLUMN kept TO appended_position;
ALTER TABLE freehold_replay RENAME COLUMN begun TO started_position;
ALTER TABLE freehold_replay RENAME COLUMN alone TO isolated_position;
ALTER TABLE freehold_replay RENAME COLUMN attempts TO isolated_attempts;
UPDATE freehold_saga SET document = CAST((
    SELECT json_group_object(
        CASE field.key WHEN 'mode' THEN 'machine_status' WHEN 'trouble' THEN 'save_failures'
            WHEN 'begun' THEN 'started_attempts' ELSE field.key END,
        json(CASE
            WHEN field.key = 'format' THEN '3'
            WHEN field.key = 'mode' THEN json_quote(replace(field.value, 'abandoned', 'terminated'))
            WHEN field.key = 'steps' THEN (
                SELECT json_group_object(step.key, json((
                    SELECT json_group_object(
                        CASE part.key WHEN 'awaiting' THEN 'wait_reason' WHEN 'tries' THEN 'policy_attempts'
                            WHEN 'undo_round' THEN 'compensation_round' WHEN 'until' THEN 'wait_until'
                            ELSE part.key END,
                        json(CASE WHEN part.type IN ('true', 'false') THEN part.type
                            WHEN part.key NOT IN ('phase', 'awaiting') THEN json_quote(part.value)
                            ELSE json_quote(CASE part.value
                                WHEN 'waiting' THEN 'pending' WHEN 'acting' THEN 'running'
                                WHEN 'refused' THEN 'rejected' WHEN 'doubtful' THEN 'unknown'
                                WHEN 'undoing' THEN 'compensating' WHEN 'undone' THEN 'compensated'
                                WHEN 'answer' THEN 'reply' WHEN 'caller' THEN 'runner' WHEN 'person' THEN 'operator'
                                ELSE part.value END) END))
                    FROM json_each(step.value) AS part)))
                FROM json_each(field.value) AS step)
            WHEN field.key = 'hook_failure' AND field.type = 'object' THEN (
                SELECT json_group_object(
                    CASE part.key WHEN 'until' THEN 'wait_until' ELSE part.key END,
                    json(CASE WHEN part.type IN ('true', 'false') THEN part.type
                        WHEN part.key = 'hook' THEN json_quote(replace(part.value, 'undo', 'compensation'))
                        ELSE json_quote(part.value) END))
                FROM json_each(field.value) AS part)
            WHEN field.type IN ('object', 'array') THEN field.value
            WHEN field.type IN ('true', 'false') THEN field.type
            ELSE json_quote(field.value) END))
    FROM json_each(CAST(document AS TEXT)) AS field) AS BLOB)
WHERE json_valid(CAST(document AS TEXT));
UPDATE freehold_saga SET status = 'terminated', failure = CASE failure WHEN 'abandoned' THEN 'terminated' ELSE failure END
WHERE status = 'abandoned';
DROP INDEX freehold_saga_ended;
CREATE INDEX freehold_saga_ended ON freehold_saga (updated_at)
    WHERE status IN ('completed', 'compensated', 'terminated');
UPDATE freehold_saga_journal SET what = CASE what WHEN 'undo-requested' THEN 'compensation-requested'
    WHEN 'undone' THEN 'compensated' WHEN 'given-up' THEN 'attempts-exhausted' WHEN 'trouble' THEN 'save-failed'
    WHEN 'abandoned' THEN 'terminated' WHEN 'decided-abandon' THEN 'decided-terminate' ELSE what END
WHERE what IN ('undo-requested', 'undone', 'given-up', 'trouble', 'abandoned', 'decided-abandon');
UPDATE freehold_saga_journal SET detail = 'no-effect' WHERE what = 'compensated' AND detail = 'empty';
UPDATE freehold_saga_journal
SET detail = replace(replace(replace(detail, 'undo ', 'compensation '), ' empty', ' no-effect'), ' barred', ' cancelled')
WHERE what = 'late';
UPDATE freehold_parked SET error = 'ProcessCrashed' WHERE error = 'ProcessEnded';
-- The retry of a parked stream was recorded as "projection resume", with a blank; the action that resumes a projection
-- has a dot.
ALTER TABLE freehold_reconciliation RENAME COLUMN unsettled TO inconclusive;
UPDATE freehold_audit SET reason = reason || ' (' || substr(action, 12) || ')' WHERE action LIKE 'reconcile: %';
UPDATE freehold_audit SET action = CASE action WHEN 'saga.abandon' THEN 'saga.terminate'
    WHEN 'projection resume' THEN 'projection.stream-retry' WHEN 'projection skip' THEN 'projection.stream-skip'
    WHEN 'projection.abandon' THEN 'projection.cancel-rebuild' ELSE 'reconcile.repair' END
WHERE action IN ('saga.abandon', 'projection resume', 'projection skip', 'projection.abandon')
    OR action LIKE 'reconcile: %';
-- SQLite cannot change a CHECK of an existing table: the table is created again.
ALTER TABLE freehold_dead_letter RENAME TO freehold_dead_letter_former;
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
    status TEXT NOT NULL DEFAULT 'dead' CHECK (status IN ('dead', 'replayed', 'discarded')),
    document BLOB NOT NULL,
    edited BLOB,
    replayed_as TEXT,
    ended_at INTEGER
);
INSERT INTO freehold_dead_letter (
    id, direction, consumer, topic, key, message_id, type, reason, error_type, detail, attempts, failed_at,
    status, document, edited, replayed_as, ended_at)
SELECT id, direction, consumer, topic, key, message_id, type, reason, error_type, detail, attempts, failed_at,
    CASE status WHEN 'dropped' THEN 'discarded' ELSE status END, document, edited, replayed_as, ended_at
FROM freehold_dead_letter_former;
DROP TABLE freehold_dead_letter_former;
CREATE INDEX freehold_dead_letter_newest ON freehold_dead_letter (failed_at, id);
CREATE INDEX freehold_dead_letter_status ON freehold_dead_letter (status, failed_at, id);
CREATE INDEX freehold_dead_letter_reason ON freehold_dead_letter (status, reason, failed_at, id);
CREATE INDEX freehold_dead_letter_type ON freehold_dead_letter (status, type, failed_at, id);
CREATE INDEX freehold_dead_letter_consumer ON freehold_dead_letter (status, consumer, failed_at, id);
CREATE INDEX freehold_dead_letter_ended ON freehold_dead_letter (ended_at) WHERE ended_at IS NOT NULL;
UPDATE freehold_dead_letter SET reason = CASE reason
    WHEN 'killed-consumer' THEN 'consumer-crashed'
    WHEN 'not-retried' THEN 'non-retryable'
    WHEN 'bad-body' THEN 'invalid-body'
    WHEN 'unreadable' THEN 'invalid-envelope'
    WHEN 'refused' THEN 'rejected-by-broker' ELSE reason END,
    error_type = CASE error_type WHEN 'ProcessEnded' THEN 'ProcessCrashed' ELSE error_type END;
UPDATE freehold_audit SET action = 'dead-letter.discard' WHERE action = 'dead-letter.drop';
-- A message that is delivered again after the upgrade must find its receipt or its deferred message.
UPDATE freehold_inbox SET receipt_key = 'invalid-envelope:' || substr(receipt_key, 12)
WHERE receipt_key LIKE 'unreadable:%';
UPDATE freehold_deferred SET receipt_key = 'invalid-envelope:' || substr(receipt_key, 12)
WHERE receipt_key LIKE 'unreadable:%';
