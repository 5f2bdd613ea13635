-- Results of reconciliations: one row for each, pruned after the retention.
CREATE TABLE freehold_reconciliation (
    ordinal INTEGER PRIMARY KEY AUTOINCREMENT,
    dataset TEXT NOT NULL,
    finished_at INTEGER NOT NULL,
    seconds REAL NOT NULL,
    compared INTEGER NOT NULL,
    drifted INTEGER NOT NULL,
    repaired INTEGER NOT NULL,
    unsettled INTEGER NOT NULL,
    error TEXT NOT NULL
);
CREATE INDEX freehold_reconciliation_dataset ON freehold_reconciliation (dataset, ordinal);
CREATE INDEX freehold_reconciliation_finished ON freehold_reconciliation (finished_at);
