"""The notifications service: e-mails to customers."""
