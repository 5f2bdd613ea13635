-- Dead letters. `ended_at` is set when an operator replayed or discarded one; pruning uses it.
CREATE TABLE freehold_dead_letter (
    id uuid PRIMARY KEY,
    direction text NOT NULL,
    consumer text NOT NULL,
    topic text NOT NULL,
    key text NOT NULL,
    message_id uuid,
    type text NOT NULL,
    reason text NOT NULL,
    error_type text NOT NULL,
    detail text NOT NULL,
    attempts integer NOT NULL,
    failed_at timestamptz NOT NULL,
    status text NOT NULL DEFAULT 'dead' CHECK (status IN ('dead', 'replayed', 'discarded')),
    document bytea NOT NULL,
    edited bytea,
    replayed_as uuid,
    ended_at timestamptz
);
CREATE INDEX freehold_dead_letter_newest ON freehold_dead_letter (failed_at, id);
CREATE INDEX freehold_dead_letter_status ON freehold_dead_letter (status, failed_at, id);
-- Dead letters are searched by type, consumer or reason, the newest first.
CREATE INDEX freehold_dead_letter_reason ON freehold_dead_letter (status, reason, failed_at, id);
CREATE INDEX freehold_dead_letter_type ON freehold_dead_letter (status, type, failed_at, id);
CREATE INDEX freehold_dead_letter_consumer ON freehold_dead_letter (status, consumer, failed_at, id);
CREATE INDEX freehold_dead_letter_ended ON freehold_dead_letter (ended_at) WHERE ended_at IS NOT NULL;
