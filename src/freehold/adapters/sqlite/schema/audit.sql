-- Actions of operators, with their reasons. Never pruned.
CREATE TABLE freehold_audit (
    ordinal INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    subject TEXT NOT NULL,
    reason TEXT NOT NULL
);
CREATE INDEX freehold_audit_at ON freehold_audit (at, ordinal);
CREATE INDEX freehold_audit_subject ON freehold_audit (subject, at, ordinal);
