"""What is copied, where its source and its replicas lie, what of it is compared. Pattern: imports errors only.

A dataset is a contract between services, like an event: its name, the key, the fields. The source says which table
holds it (`DatasetTable`), each replica which table it was copied into (`Replica`). Names of tables and columns are
checked here, at declaration; nothing else ever becomes part of a statement.
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
"""The key and the fields, in the order of the dataset and in the form that is the same for all engines."""
_encoder = msgspec.json.Encoder(decimal_format="string", uuid_format="canonical")


@dataclass(frozen=True, slots=True)
class Dataset:
    """A set of rows that one service owns and others replicate: `Dataset("users.customers", "customer_id", ("name",))`.

    The key is text, and not empty. Fields hold texts, whole numbers, booleans or nothing; `kinds` says which hold
    something else: times, decimals and so on, which engines give back each in its own way.
    """

    name: str
    key: str
    fields: tuple[str, ...]
    kinds: Mapping[str, FieldKind] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        """Refuse names that are none."""
        if not _DATASET.fullmatch(self.name):
            raise DeclarationError(f"'{self.name}' is not the name of a dataset", hint="write 'service.what-it-is'")
        if not self.fields or self.key in self.fields or len(set(self.fields)) != len(self.fields):
            raise DeclarationError(f"dataset '{self.name}' needs distinct fields beside its key '{self.key}'")
        if unknown := sorted(set(self.kinds) - set(self.fields)):
            raise DeclarationError(f"dataset '{self.name}' has no field '{unknown[0]}'", hint="kinds are of fields")

    def kind(self, name: str) -> FieldKind:
        """What the key or a field holds."""
        return self.kinds.get(name, FieldKind.PLAIN)

    @property
    def service(self) -> str:
        """The service that owns the rows."""
        return self.name.partition(".")[0]


@dataclass(frozen=True, slots=True)
class DatasetTable:
    """Where a dataset lies at its source. `columns` names columns that are called otherwise than their fields."""

    dataset: Dataset
    table: str
    columns: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse identifiers that are none."""
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
    """Where a replica lies. `every_seconds` compares it on a schedule, None by command only; `repair` says whether the
    schedule repairs what it finds, or only tells.
    """

    every_seconds: float | None = None
    repair: bool = False


@dataclass(frozen=True, slots=True)
class RowDigest:
    """A row without its content."""

    key: str
    digest: str


@dataclass(frozen=True, slots=True)
class RangeDigest:
    """The rows whose keys lie after one and through another, by their bytes. `through` None is the end of all."""

    after: str
    through: str | None
    count: int
    digest: str


def canonical_row(dataset: Dataset, values: Sequence[Any]) -> FullRow:
    """A row as it is compared, of the key and the fields as an engine gave them. Raises `DeclarationError` for a value
    that is none of the dataset's.
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
                f"'{name}' of dataset '{dataset.name}' holds {error}, and is declared as {dataset.kind(name).value}",
                hint="texts, whole numbers and booleans are plain; say of others what they are: kinds={…}",
            ) from None
    return tuple(found)


def row_digest(values: Sequence[object]) -> str:
    """The digest of a row's key and fields, in their order: the same on every engine."""
    plain = tuple(int(each) if isinstance(each, bool) else each for each in values)
    return hashlib.blake2b(_encoder.encode(plain), digest_size=_DIGEST_BYTES).hexdigest()


def digest_of(rows: Iterable[RowDigest]) -> str:
    """The digest of a range: of its rows' digests, in order of key."""
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    for row in rows:
        digest.update(bytes.fromhex(row.digest))
    return digest.hexdigest()


@dataclass(slots=True)
class Datasets:
    """What a service declares of datasets: its own that others compare replicas with, and its replicas of others'."""

    service: str
    published_datasets: dict[str, DatasetTable] = field(default_factory=dict)
    replicas: dict[str, Replica] = field(default_factory=dict)
