"""Consumer groups on a log: members share the partitions, and move the positions under leases."""
