"""What the SQL engines share: connections and transactions, and stores whose statements differ by dialect only."""
