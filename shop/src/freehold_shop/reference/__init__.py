"""The reference service: countries and currencies that all services copy."""
