"""SQLite: one file a service, the embedded default."""
