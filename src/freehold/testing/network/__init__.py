"""A TCP proxy before a real server, with the faults of a network. Testing: its modules import each other."""
