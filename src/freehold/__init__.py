"""Freehold: your services own their data; Freehold keeps it right between them."""

__all__ = ["__version__"]

__version__ = "0.1.0"
