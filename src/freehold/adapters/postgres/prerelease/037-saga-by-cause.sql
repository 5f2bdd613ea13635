-- Sagas are looked for by what led to them.
CREATE INDEX freehold_saga_correlation ON freehold_saga (correlation_id);
