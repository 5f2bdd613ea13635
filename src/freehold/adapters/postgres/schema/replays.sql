-- One row for each replay of stored events; `number` is part of the names of its own tables. Pruned when it has ended;
-- one with tables stays until an operator drops them.
CREATE TABLE freehold_replay (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    projection text NOT NULL,
    generation integer,
    recorded_from timestamptz,
    recorded_to timestamptz,
    position bigint NOT NULL,
    end_position bigint NOT NULL,
    applied bigint NOT NULL,
    failed bigint NOT NULL,
    state text NOT NULL,
    actor text NOT NULL,
    reason text NOT NULL,
    tables text NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    started_position bigint NOT NULL DEFAULT -1,
    isolated_position bigint NOT NULL DEFAULT 0,
    isolated_attempts integer NOT NULL DEFAULT 0
);
CREATE INDEX freehold_replay_projection ON freehold_replay (projection, number);
CREATE INDEX freehold_replay_ended ON freehold_replay (updated_at) WHERE state <> 'running' AND tables = '[]';
CREATE TABLE freehold_replay_error (
    replay bigint NOT NULL,
    position bigint NOT NULL,
    stream text NOT NULL,
    version bigint NOT NULL,
    event_id uuid NOT NULL,
    type text NOT NULL,
    error text NOT NULL,
    detail text NOT NULL,
    PRIMARY KEY (replay, position)
);
