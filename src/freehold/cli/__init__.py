"""The `freehold` command line."""
