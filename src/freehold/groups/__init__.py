"""Consumer groups over a log: members share the partitions, and move their positions under leases."""
