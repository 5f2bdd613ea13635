"""Scenarios that are simulated, and the bugs that are planted in them."""
