-- Sagas are searched by their cause.
CREATE INDEX freehold_saga_correlation ON freehold_saga (correlation_id);
