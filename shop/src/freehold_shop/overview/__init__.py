"""The overview service: everything about a customer as a read model, projected from the other services' events."""
