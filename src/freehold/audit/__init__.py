"""The audit trail of operators' actions."""
