-- The headers of a stored answer, as a JSON list of pairs. NULL where there are none, and in older answers.
ALTER TABLE freehold_idempotency ADD COLUMN headers text;
