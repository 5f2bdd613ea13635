"""What the services' tables have in common. Imports SQLAlchemy.

MariaDB indexes 3072 bytes, and a character has up to four: so a column of a key has a length there. Its collations pad
blanks and ignore case, unless a table names one that does not. A statement that defines a table commits, and is run
again after a crash: so it says `IF NOT EXISTS`.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import String, Text

__all__ = ["BY_CODE_POINT", "Key"]

Key: Final = Text().with_variant(String(255), "mariadb")
"""The type of an indexed text."""

BY_CODE_POINT: Final = "CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin"
"""The end of a CREATE TABLE on MariaDB: two texts are equal only if each of their characters is."""
