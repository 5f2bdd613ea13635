-- Receipts come and go at the rate of the messages. Answers are filled in by an update in the same transaction: room
-- for it.
CREATE TABLE freehold_inbox (
    consumer text COLLATE "C" NOT NULL,
    receipt_key text COLLATE "C" NOT NULL,
    cancelled boolean NOT NULL,
    answer bytea,
    received_at timestamptz NOT NULL,
    PRIMARY KEY (consumer, receipt_key)
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 5000,
        autovacuum_analyze_scale_factor = 0.02, autovacuum_analyze_threshold = 5000);
-- Each consumer prunes its own receipts: several may share a database, with windows of their own.
CREATE INDEX freehold_inbox_consumer_received ON freehold_inbox (consumer, received_at);
-- Messages kept for a later try: nearly always empty, and busy when it is not. `lane_position`: where the message
-- stands in its lane; until it is handled, nothing from there on is complete. `waiting`: was due and not the first of
-- its key when it was looked at. Whoever finishes the first wakes the next, so that a look for what is due does not go
-- through all that stands behind one message, again and again.
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
