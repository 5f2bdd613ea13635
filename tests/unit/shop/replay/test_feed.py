"""Chunks of orders: the same each time, and an error behind the orders that were read."""

from __future__ import annotations

from pathlib import Path

import pytest

from freehold_shop.replay.feed import CHUNK_ORDERS, OrderFeed, SharedRejects
from freehold_shop.replay.intake import Intake
from freehold_shop.retail import HEADER, RejectsWriter, UnreadableFile, WrongHeader
from freehold_shop.rules import QUANTITY_MAX


def _file(path: Path, orders: int, first: int = 500_000) -> Path:
    rows = [f"{first + n},SKU{n % 7},THING,{n + 1},2010-12-01 08:26:00,2.55,{n % 5},France" for n in range(orders)]
    path.write_text("\n".join([",".join(HEADER), *rows]) + "\n", encoding="utf-8")
    return path


def _feed(tmp_path: Path, *files: Path) -> tuple[OrderFeed, SharedRejects]:
    rejects = SharedRejects(RejectsWriter(tmp_path / "rejects.csv"))
    return OrderFeed(files, rejects), rejects


async def test_chunks_have_a_fixed_number_of_orders_in_the_order_of_the_files(tmp_path: Path) -> None:
    feed, _ = _feed(tmp_path, _file(tmp_path / "a.csv", 150), _file(tmp_path / "b.csv", 80, 600_000))
    chunks = [chunk async for chunk in feed.chunks()]
    assert [len(chunk) for chunk in chunks] == [CHUNK_ORDERS, CHUNK_ORDERS, 30]
    assert feed.counts.rows_read == 230


async def test_a_delivery_has_the_same_reference_each_time(tmp_path: Path) -> None:
    file = _file(tmp_path / "a.csv", 20)
    references = []
    for _ in range(2):
        feed, _ = _feed(tmp_path, file)
        chunks = [chunk async for chunk in feed.chunks()]
        references.append(Intake().of(chunks[0])["stock"]["receipt_ref"])
    assert references[0] == references[1]


async def test_an_intake_brings_what_is_new_and_all_pieces(tmp_path: Path) -> None:
    feed, _ = _feed(tmp_path, _file(tmp_path / "a.csv", 20))
    intake = Intake()
    (chunk,) = [chunk async for chunk in feed.chunks()]
    first, again = intake.of(chunk), intake.of(chunk)
    assert len(first["products"]) == 7
    assert len(first["customers"]) == 5
    assert sum(line["quantity"] for line in first["stock"]["lines"]) == sum(range(1, 21))
    assert {customer["country"] for customer in first["customers"]} == {"FR"}
    assert set(again) == {"stock"}


async def test_more_pieces_than_a_line_of_a_delivery_may_have_come_in_several(tmp_path: Path) -> None:
    """Refused as a whole, the delivery would end the replay."""
    rows = [f"{n},SKU,THING,10000000,2010-12-01 08:26:00,0.01,1,France" for n in range(1, 100) for _ in range(2)]
    file = tmp_path / "a.csv"
    file.write_text("\n".join([",".join(HEADER), *rows]) + "\n", encoding="utf-8")
    feed, _ = _feed(tmp_path, file)
    (chunk,) = [chunk async for chunk in feed.chunks()]
    quantities = [line["quantity"] for line in Intake().of(chunk)["stock"]["lines"]]
    assert max(quantities) <= QUANTITY_MAX
    assert sum(quantities) == 198 * 10**7


async def test_a_file_that_breaks_off_comes_behind_its_orders(tmp_path: Path) -> None:
    good, gone = _file(tmp_path / "a.csv", 5), _file(tmp_path / "b.csv", 5)
    feed, _ = _feed(tmp_path, good, gone)
    gone.unlink()
    read = 0
    with pytest.raises(UnreadableFile):
        async for chunk in feed.chunks():
            read += len(chunk)
    assert read >= 4


def test_a_wrong_header_is_told_before_anything_is_read(tmp_path: Path) -> None:
    wrong = tmp_path / "w.csv"
    wrong.write_text("a,b\n1,2\n", encoding="utf-8")
    with pytest.raises(WrongHeader):
        _feed(tmp_path, _file(tmp_path / "a.csv", 5), wrong)
