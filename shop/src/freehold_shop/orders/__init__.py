"""The orders service: orders, their checkout and their returns."""
