"""The gateway service: the one address for clients, composing what the services own."""
