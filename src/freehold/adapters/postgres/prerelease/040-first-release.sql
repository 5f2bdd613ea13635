-- To the tables of the first release: the names change that are stored, nothing else. What is recorded of the steps
-- before becomes the record of a database that was made by the first release. The functions follow by their digests.
ALTER TABLE freehold_outbox_owed RENAME TO freehold_outbox_watermark;
ALTER INDEX freehold_outbox_owed_pkey RENAME TO freehold_outbox_watermark_pkey;
ALTER TABLE freehold_inbox RENAME COLUMN barred TO cancelled;
ALTER TABLE freehold_checkpoint RENAME COLUMN begun TO started_position;
ALTER TABLE freehold_checkpoint RENAME COLUMN alone TO isolated_position;
ALTER TABLE freehold_checkpoint RENAME COLUMN attempts TO isolated_attempts;
ALTER TABLE freehold_parked RENAME COLUMN begun TO started_attempts;
ALTER TABLE freehold_progress RENAME COLUMN kept TO appended_position;
ALTER TABLE freehold_replay RENAME COLUMN begun TO started_position;
ALTER TABLE freehold_replay RENAME COLUMN alone TO isolated_position;
ALTER TABLE freehold_replay RENAME COLUMN attempts TO isolated_attempts;
-- Renamed, not made again: what was granted on them stays.
ALTER FUNCTION freehold_outbox_settle(jsonb, bigint[], jsonb) RENAME TO freehold_outbox_confirm;
ALTER FUNCTION freehold_saga_take(timestamptz, integer) RENAME TO freehold_saga_claim;
ALTER FUNCTION freehold_schedule_take(timestamptz, integer) RENAME TO freehold_schedule_claim;
DROP FUNCTION freehold_outbox_oldest(jsonb, timestamptz, integer);
DROP FUNCTION freehold_outbox_fetch(jsonb, timestamptz, integer);
DROP FUNCTION freehold_outbox_keep(jsonb, bigint[], jsonb, timestamptz);
DROP FUNCTION freehold_deferred_claim(text, timestamptz, float8, integer);
