-- Results of reconciliations: one row for each, pruned after the retention.
CREATE TABLE freehold_reconciliation (
    ordinal bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    dataset text NOT NULL,
    finished_at timestamptz NOT NULL,
    seconds double precision NOT NULL,
    compared bigint NOT NULL,
    drifted bigint NOT NULL,
    repaired bigint NOT NULL,
    unsettled bigint NOT NULL,
    error text NOT NULL
);
CREATE INDEX freehold_reconciliation_dataset ON freehold_reconciliation (dataset, ordinal);
CREATE INDEX freehold_reconciliation_finished ON freehold_reconciliation (finished_at);
