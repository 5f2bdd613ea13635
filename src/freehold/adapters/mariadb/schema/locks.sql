-- Locks that end with a transaction, for what has no row of its own: a key of the outbox (numbers up to 4095), a name
-- (the 256 behind), a stream (the 4096 behind these). A transaction locks the rows of one kind in order of number. The rows are made once, and never changed:
-- to lock one that is missing would lock the gap between its neighbours.
CREATE TABLE IF NOT EXISTS freehold_lock (
    number INT NOT NULL PRIMARY KEY
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;
INSERT INTO freehold_lock (number) SELECT seq FROM seq_0_to_8447 ON DUPLICATE KEY UPDATE number = freehold_lock.number;
