"""The event store: streams of events in the service's own database, and their order over all streams."""
