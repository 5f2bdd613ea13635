"""Faults against running processes, drawn by a seed. Testing: its modules import each other."""
