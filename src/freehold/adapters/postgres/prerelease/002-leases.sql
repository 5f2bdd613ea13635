-- One row for each partition or member, updated at every heartbeat: pages keep room for updates.
CREATE TABLE freehold_lease (
    name text COLLATE "C" PRIMARY KEY,
    owner text NOT NULL DEFAULT '',
    token bigint NOT NULL DEFAULT 0,
    beat bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 20, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);
