"""Bugs that the tests plant, to see that they are caught: none of them is in the library."""
