"""The shipping service: shipments."""
