"""Histories of clients of services on real engines, while processes are killed; and what the checkers find in them."""
