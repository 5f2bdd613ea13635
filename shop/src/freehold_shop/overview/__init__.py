"""The overview service: everything about a customer as a read model, kept from the events of the other services."""
