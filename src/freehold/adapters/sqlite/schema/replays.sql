-- One row for each replay of stored events; `number` is part of the names of its own tables. Pruned when it has ended;
-- one with tables stays until an operator drops them.
CREATE TABLE freehold_replay (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    projection TEXT NOT NULL,
    generation INTEGER,
    recorded_from INTEGER,
    recorded_to INTEGER,
    position INTEGER NOT NULL,
    end_position INTEGER NOT NULL,
    applied INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    state TEXT NOT NULL,
    actor TEXT NOT NULL,
    reason TEXT NOT NULL,
    tables TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    started_position INTEGER NOT NULL DEFAULT -1,
    isolated_position INTEGER NOT NULL DEFAULT 0,
    isolated_attempts INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX freehold_replay_projection ON freehold_replay (projection, number);
CREATE INDEX freehold_replay_ended ON freehold_replay (updated_at) WHERE state <> 'running' AND tables = '[]';
CREATE TABLE freehold_replay_error (
    replay INTEGER NOT NULL,
    position INTEGER NOT NULL,
    stream TEXT NOT NULL,
    version INTEGER NOT NULL,
    event_id TEXT NOT NULL,
    type TEXT NOT NULL,
    error TEXT NOT NULL,
    detail TEXT NOT NULL,
    PRIMARY KEY (replay, position)
);
