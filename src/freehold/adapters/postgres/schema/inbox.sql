-- Receipts are inserted and pruned at the rate of the messages. Answers are added by an update in the same transaction:
-- pages keep room for it.
CREATE TABLE freehold_inbox (
    consumer text COLLATE "C" NOT NULL,
    receipt_key text COLLATE "C" NOT NULL,
    cancelled boolean NOT NULL,
    answer bytea,
    received_at timestamptz NOT NULL,
    PRIMARY KEY (consumer, receipt_key)
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 5000,
        autovacuum_analyze_scale_factor = 0.02, autovacuum_analyze_threshold = 5000);
-- Each consumer prunes its own receipts: several consumers may share a database and have different windows.
CREATE INDEX freehold_inbox_consumer_received ON freehold_inbox (consumer, received_at);
-- Deferred messages: the table is nearly always empty, and changes often when it is not.
-- `lane_position`: the position of the message in its lane. Until it is handled, the consumer has not reached it.
-- `waiting`: a claim found the message due, but not the first of its key. When the first one is finished, the mark of
-- the next is removed. So a claim does not read all messages behind one that keeps failing.
CREATE TABLE freehold_deferred (
    position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    consumer text COLLATE "C" NOT NULL,
    topic text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    receipt_key text NOT NULL,
    document bytea NOT NULL,
    attempts integer NOT NULL,
    due_at timestamptz NOT NULL,
    deferred_at timestamptz NOT NULL,
    reason text NOT NULL,
    lane text COLLATE "C",
    lane_position bigint,
    waiting boolean NOT NULL DEFAULT false
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000,
        autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 1000);
CREATE INDEX freehold_deferred_key ON freehold_deferred (consumer, topic, key, position);
CREATE INDEX freehold_deferred_due ON freehold_deferred (consumer, due_at) WHERE NOT waiting;
CREATE INDEX freehold_deferred_lane ON freehold_deferred (consumer, lane, lane_position) WHERE lane IS NOT NULL;
