"""The base that the SQL engines share: what they write through, and stores whose statements differ by dialect only."""
