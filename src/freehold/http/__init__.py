"""FastAPI integration: lifespan, transaction dependency, Idempotency-Key, problem+json, health."""
