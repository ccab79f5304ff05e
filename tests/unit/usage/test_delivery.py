"""Batches, poison rows and a store that is down."""

import pytest

from aiservice.core.errors import StoreUnavailable
from aiservice.usage.delivery import TRIES_MAX, Delivery
from aiservice.usage.model import LedgerCounts


@pytest.fixture
def counts() -> LedgerCounts:
    return LedgerCounts()


@pytest.fixture
def delivery(store, counts) -> Delivery:
    return Delivery(store, counts)


async def test_a_batch_goes_in_at_once(delivery, store, counts, make_record):
    rows = [make_record() for _ in range(5)]
    await delivery.deliver(rows)
    await delivery.deliver(rows)

    assert store.batches == [5, 5]
    assert (counts.shipped_rows, counts.repeated_rows) == (5, 5)


async def test_a_poison_row_is_buried_alone(delivery, store, counts, make_record):
    rows = [make_record() for _ in range(5)]
    store.poison = {rows[2].id}

    await delivery.deliver(rows)

    assert store.batches == [5] * TRIES_MAX + [1, 1] + [1] * TRIES_MAX + [1, 1]
    assert store.rows.keys() == {row.id for row in rows} - store.poison
    assert store.dead_letters == {rows[2].id: (rows[2], "this row does not fit")}
    assert (counts.shipped_rows, counts.dead_letters) == (4, 1)


async def test_a_store_that_is_down_buries_nothing(delivery, store, make_record):
    store.is_down = True

    with pytest.raises(StoreUnavailable):
        await delivery.deliver([make_record()])

    assert store.dead_letters == {}
    assert store.batches == [1]


async def test_a_letter_that_cannot_be_written_is_a_store_that_is_down(delivery, store, counts, make_record):
    row = make_record()
    store.poison, store.refuses_letters = {row.id}, True

    with pytest.raises(StoreUnavailable):
        await delivery.deliver([row])

    assert counts.dead_letters == 0
