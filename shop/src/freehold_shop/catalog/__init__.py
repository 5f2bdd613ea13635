"""The catalog service: products and their prices."""
