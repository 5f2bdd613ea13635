"""The gateway service: the only address that clients need. It composes the data of the services."""
