"""Every crash point of the library, passed by the shop's checkouts or by services of these tests, and killed at."""
