"""The users service: customers and their addresses."""
