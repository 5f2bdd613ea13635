-- To the tables of the first release: the names change that are stored, nothing else. What is recorded of the steps
-- before becomes the record of a database that was made by the first release.
ALTER TABLE freehold_outbox_owed RENAME TO freehold_outbox_watermark;
ALTER TABLE freehold_inbox RENAME COLUMN barred TO cancelled;
ALTER TABLE freehold_checkpoint RENAME COLUMN begun TO started_position;
ALTER TABLE freehold_checkpoint RENAME COLUMN alone TO isolated_position;
ALTER TABLE freehold_checkpoint RENAME COLUMN attempts TO isolated_attempts;
ALTER TABLE freehold_parked RENAME COLUMN begun TO started_attempts;
ALTER TABLE freehold_progress RENAME COLUMN kept TO appended_position;
ALTER TABLE freehold_replay RENAME COLUMN begun TO started_position;
ALTER TABLE freehold_replay RENAME COLUMN alone TO isolated_position;
ALTER TABLE freehold_replay RENAME COLUMN attempts TO isolated_attempts;
