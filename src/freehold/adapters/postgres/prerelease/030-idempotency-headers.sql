-- The headers that are given again with an answer, as a JSON list of pairs. NULL where there are none, and in answers
-- of before.
ALTER TABLE freehold_idempotency ADD COLUMN headers text;
