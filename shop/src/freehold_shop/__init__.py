"""The reference shop of Freehold: services that each own their database, selling things."""

__all__: list[str] = []
