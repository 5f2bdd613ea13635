-- The step to the tables of the first release: it changes stored names, and nothing else. The record of the steps
-- before it is replaced by the one of a database that the first release has made. The functions are replaced
-- afterwards, by their digests.
ALTER TABLE freehold_outbox_owed RENAME TO freehold_outbox_watermark;
ALTER INDEX freehold_outbox_owed_pkey RENAME TO freehold_outbox_watermark_pkey;
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
ALTER TABLE freehold_dead_letter DROP CONSTRAINT freehold_dead_letter_status_check;
UPDATE freehold_dead_letter SET status = 'discarded' WHERE status = 'dropped';
ALTER TABLE freehold_dead_letter ADD CONSTRAINT freehold_dead_letter_status_check
    CHECK (status IN ('dead', 'replayed', 'discarded'));
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
-- The functions are renamed, not created again, so that the rights on them stay.
ALTER FUNCTION freehold_outbox_postpone(jsonb, bigint, timestamptz, text) RENAME TO freehold_outbox_reschedule;
ALTER FUNCTION freehold_saga_take(timestamptz, integer) RENAME TO freehold_saga_claim;
ALTER FUNCTION freehold_schedule_take(timestamptz, integer) RENAME TO freehold_schedule_claim;
DROP FUNCTION freehold_outbox_settle(jsonb, bigint[], jsonb);
DROP FUNCTION freehold_outbox_oldest(jsonb, timestamptz, integer);
DROP FUNCTION freehold_outbox_fetch(jsonb, timestamptz, integer);
DROP FUNCTION freehold_outbox_fetch(jsonb, timestamptz, integer, timestamptz);
DROP FUNCTION freehold_outbox_keep(jsonb, bigint[], jsonb, timestamptz);
DROP FUNCTION freehold_outbox_keep(jsonb, bigint[], jsonb, timestamptz, bigint);
DROP FUNCTION freehold_deferred_claim(text, timestamptz, float8, integer);
-- Documents of sagas: NUL, which JSON in PostgreSQL cannot contain, is replaced by another text during the change.
UPDATE freehold_saga SET document = convert_to(replace((
    SELECT json_object_agg(
        CASE field.key WHEN 'mode' THEN 'machine_status' WHEN 'trouble' THEN 'save_failures'
            WHEN 'begun' THEN 'started_attempts' ELSE field.key END,
        CASE field.key
            WHEN 'format' THEN '3'::json
            WHEN 'mode' THEN to_json(replace(field.value #>> '{}', 'abandoned', 'terminated'))
            WHEN 'steps' THEN COALESCE((
                SELECT json_object_agg(step.key, COALESCE((
                    SELECT json_object_agg(
                        CASE part.key WHEN 'awaiting' THEN 'wait_reason' WHEN 'tries' THEN 'policy_attempts'
                            WHEN 'undo_round' THEN 'compensation_round' WHEN 'until' THEN 'wait_until'
                            ELSE part.key END,
                        CASE WHEN part.key NOT IN ('phase', 'awaiting') THEN part.value ELSE to_json(
                            CASE part.value #>> '{}'
                                WHEN 'waiting' THEN 'pending' WHEN 'acting' THEN 'running'
                                WHEN 'refused' THEN 'rejected' WHEN 'doubtful' THEN 'unknown'
                                WHEN 'undoing' THEN 'compensating' WHEN 'undone' THEN 'compensated'
                                WHEN 'answer' THEN 'reply' WHEN 'caller' THEN 'runner' WHEN 'person' THEN 'operator'
                                ELSE part.value #>> '{}' END) END)
                    FROM json_each(step.value) AS part), '{}'))
                FROM json_each(field.value) AS step), '{}')
            WHEN 'hook_failure' THEN (
                SELECT json_object_agg(
                    CASE part.key WHEN 'until' THEN 'wait_until' ELSE part.key END,
                    CASE WHEN part.key <> 'hook' THEN part.value
                        ELSE to_json(replace(part.value #>> '{}', 'undo', 'compensation')) END)
                FROM json_each(field.value) AS part)
            ELSE field.value END)
    FROM json_each(replace(convert_from(document, 'UTF8'), '\u0000', '\uf8ff')::json) AS field)::text,
    '\uf8ff', '\u0000'), 'UTF8')
WHERE substr(document, 1, 10) = '{"format":';
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
