"""Services with a copy, for `reconcile` and `monitor`: an index that keeps the titles of a library's books."""

from __future__ import annotations

from freehold import Dataset, Migration, Service, Transaction, event

BOOKS = Dataset("library.books", key="isbn", fields=("title",))
TABLE = "CREATE TABLE {} (isbn TEXT PRIMARY KEY, title TEXT NOT NULL)"
library = Service("library", migrations=[Migration("001", {"": [TABLE.format("book")]})])
index = Service("index", migrations=[Migration("001", {"": [TABLE.format("entry")]})])
library.publishes_dataset(BOOKS, table="book")
index.replicates(BOOKS, table="entry", columns={})


@event("library.book-titled", key="isbn")
class BookTitled:
    isbn: str
    title: str


@index.handles(BookTitled)
async def keep(titled: BookTitled, tx: Transaction) -> None:
    statement = (
        "INSERT INTO entry (isbn, title) VALUES ($1, $2) ON CONFLICT (isbn) DO UPDATE SET title = excluded.title"
    )
    await tx.sql.execute(statement, (titled.isbn, titled.title))
