"""Sums by hour in an order that all workers share, and the hours of a span."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiservice.core.errors import Unexpected
from aiservice.usage.model import NUMBER_MAX
from aiservice.usage.sums import HOUR_US, by_hour, by_status, whole_hours

NOON_US = 1_769_860_800_000_000


def test_an_hour_is_half_open_and_a_row_without_model_has_an_empty_one(make_record):
    rows = [
        make_record(created_at_us=NOON_US, model_used=None, response_cached=True, tokens_saved=5),
        make_record(created_at_us=NOON_US + HOUR_US - 1, model_used=None),
        make_record(created_at_us=NOON_US + HOUR_US, model_used=None),
    ]

    sums = by_hour(rows)

    assert [(key[2], key[4]) for key in sums] == [(NOON_US, ""), (NOON_US + HOUR_US, "")]
    assert list(sums.values()) == [(2, 1, 68, 200, 5, 10, 1_624), (1, 0, 34, 100, 0, 5, 812)]
    assert by_status(sums) == {200: (3, 1, 102, 300, 5, 15, 2_436)}


def test_the_order_is_the_same_however_the_rows_come(make_record):
    rows = [
        make_record(tenant_id=tenant, status_code=status, created_at_us=NOON_US + hour * HOUR_US)
        for tenant in ("a", "b", "c")
        for status in (500, 200, 429)
        for hour in (2, 0, 1)
    ]
    expected = list(by_hour(rows))

    random.Random(1).shuffle(rows)

    assert list(by_hour(rows)) == expected == sorted(expected)
    assert list(by_status(by_hour(rows))) == [200, 429, 500]


def test_one_number_that_is_too_large_is_refused_and_many_large_ones_are_not(make_record):
    with pytest.raises(Unexpected):
        by_hour([make_record(), make_record(completion_tokens=NUMBER_MAX + 1)])

    [sums] = by_hour([make_record(created_at_us=NOON_US, completion_tokens=NUMBER_MAX) for _ in range(3)]).values()
    assert sums[3] == 3 * NUMBER_MAX


@given(st.integers(0, 5 * HOUR_US), st.integers(0, 5 * HOUR_US))
def test_whole_hours_and_what_is_left_make_the_span(from_us, to_us):
    first_us, last_us = whole_hours(from_us, to_us)

    if first_us < last_us:
        assert first_us % HOUR_US == last_us % HOUR_US == 0
        assert 0 <= first_us - from_us < HOUR_US
        assert 0 <= to_us - last_us < HOUR_US
    else:
        assert (first_us, last_us) == (to_us, to_us)
