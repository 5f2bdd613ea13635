"""The payments service: holds, captures and refunds at the payment provider."""
