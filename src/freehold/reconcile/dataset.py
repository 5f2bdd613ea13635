"""Declaring datasets and replicas, and the digests by which they are compared. Pattern: imports errors, its package.

A dataset is a contract between services, like an event: its name, the key, the fields. The source declares the table
that it is in (`DatasetTable`), each service with a replica the table of the replica (`Replica`). Names of tables and
columns are checked here, at declaration; nothing else becomes part of a statement.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from freehold.errors import DeclarationError
from freehold.reconcile.field_value import PLAIN_TYPES, FieldKind, canonical

__all__ = [
    "Dataset",
    "DatasetTable",
    "FullRow",
    "RangeDigest",
    "Replica",
    "RowDigest",
    "canonical_row",
    "digest_of",
    "row_digest",
]

_DATASET: Final = re.compile(r"[a-z][a-z0-9-]*\.[a-z][a-z0-9-]*")
_IDENTIFIER: Final = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_DIGEST_BYTES: Final = 16
FullRow = tuple[object, ...]
"""The key and the fields of a row, in the order of the dataset, each in its one form for all engines."""
_encoder = msgspec.json.Encoder(decimal_format="string", uuid_format="canonical")


@dataclass(frozen=True, slots=True)
class Dataset:
    """A set of rows that one service owns and others replicate: `Dataset("users.customers", "customer_id", ("name",))`.

    The key is a text that is not empty. Fields have texts, whole numbers, booleans or NULL; `kinds` names those with
    other values: times, decimals and so on, which each engine returns in its own form.

    Raises `DeclarationError` for invalid names and fields.
    """

    name: str
    key: str
    fields: tuple[str, ...]
    kinds: Mapping[str, FieldKind] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        """Refuse invalid names."""
        if not _DATASET.fullmatch(self.name):
            raise DeclarationError(f"'{self.name}' is not the name of a dataset", hint="write 'service.what-it-is'")
        if not self.fields or self.key in self.fields or len(set(self.fields)) != len(self.fields):
            raise DeclarationError(f"dataset '{self.name}' needs distinct fields beside its key '{self.key}'")
        if unknown := sorted(set(self.kinds) - set(self.fields)):
            raise DeclarationError(
                f"dataset '{self.name}' has no field '{unknown[0]}'", hint="name only fields in kinds"
            )

    def kind(self, name: str) -> FieldKind:
        """The kind of values of the key or a field."""
        return self.kinds.get(name, FieldKind.PLAIN)

    @property
    def service(self) -> str:
        """The service that owns the rows."""
        return self.name.partition(".")[0]


@dataclass(frozen=True, slots=True)
class DatasetTable:
    """The table of a dataset at its source. `columns` maps fields to columns that have other names.

    Raises `DeclarationError` for an invalid identifier or an unknown field.
    """

    dataset: Dataset
    table: str
    columns: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse invalid identifiers."""
        known = {self.dataset.key, *self.dataset.fields}
        if unknown := sorted(set(self.columns) - known):
            raise DeclarationError(f"dataset '{self.dataset.name}' has no field '{unknown[0]}'")
        for identifier in (self.table, *(self.column(name) for name in known)):
            if not _IDENTIFIER.fullmatch(identifier):
                raise DeclarationError(
                    f"'{identifier}' cannot be a table or column of dataset '{self.dataset.name}'",
                    hint="lower-case letters, digits and '_'",
                )

    def column(self, name: str) -> str:
        """The column of the key or a field."""
        return self.columns.get(name, name)


@dataclass(frozen=True, slots=True)
class Replica(DatasetTable):
    """The table of a replica. `every_seconds` is the schedule of its comparison; None for comparison by command only.
    `repair` lets a scheduled comparison repair the drift that it finds; otherwise it only reports it.
    """

    every_seconds: float | None = None
    repair: bool = False


@dataclass(frozen=True, slots=True)
class RowDigest:
    """The digest of one row."""

    key: str
    digest: str


@dataclass(frozen=True, slots=True)
class RangeDigest:
    """The digest of the rows with keys after `after` and through `through`, by their bytes; None is the end of all."""

    after: str
    through: str | None
    count: int
    digest: str


def canonical_row(dataset: Dataset, values: Sequence[Any]) -> FullRow:
    """Return a row as it is compared, from the key and the fields that an engine returned. Raises `DeclarationError`
    for a value of another kind than declared.
    """
    if not dataset.kinds and PLAIN_TYPES.issuperset(map(type, values)):
        return tuple(values)
    names = (dataset.key, *dataset.fields)
    found: list[object] = []
    for name, value in zip(names, values, strict=True):
        try:
            found.append(canonical(dataset.kind(name), value))
        except ValueError as error:
            raise DeclarationError(
                f"'{name}' of dataset '{dataset.name}' has {error}, and is declared as {dataset.kind(name).value}",
                hint="declare the kind of values that are not texts, whole numbers or booleans: kinds={…}",
            ) from None
    return tuple(found)


def row_digest(values: Sequence[object]) -> str:
    """The digest of a row's key and fields, in their order: the same on every engine."""
    plain = tuple(int(each) if isinstance(each, bool) else each for each in values)
    return hashlib.blake2b(_encoder.encode(plain), digest_size=_DIGEST_BYTES).hexdigest()


def digest_of(rows: Iterable[RowDigest]) -> str:
    """The digest of a range, made of its rows' digests in order of key."""
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    for row in rows:
        digest.update(bytes.fromhex(row.digest))
    return digest.hexdigest()


@dataclass(slots=True)
class Datasets:
    """The datasets that a service publishes, and its replicas of other services' datasets."""

    service: str
    published_datasets: dict[str, DatasetTable] = field(default_factory=dict)
    replicas: dict[str, Replica] = field(default_factory=dict)
