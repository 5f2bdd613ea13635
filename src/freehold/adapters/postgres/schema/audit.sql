-- Actions of operators, with their reasons. Never pruned.
CREATE TABLE freehold_audit (
    ordinal bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL,
    actor text NOT NULL,
    action text NOT NULL,
    subject text NOT NULL,
    reason text NOT NULL
);
CREATE INDEX freehold_audit_at ON freehold_audit (at, ordinal);
CREATE INDEX freehold_audit_subject ON freehold_audit (subject, at, ordinal);
