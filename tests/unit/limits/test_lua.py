"""The doubles of the scripts divide as Python's whole numbers do; bucket.lua says why, here it is tried."""

import math
from datetime import UTC, datetime, timedelta

from hypothesis import example, given
from hypothesis import strategies as st

from aiservice.limits.model import FILL_US_MAX, SPAN_MAX

EXACT_MAX = 2**53


def test_every_level_and_time_is_below_what_a_double_holds() -> None:
    assert SPAN_MAX < EXACT_MAX
    end_of_exact_time = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=EXACT_MAX - FILL_US_MAX)
    assert end_of_exact_time.year == 2223


@given(st.integers(1, EXACT_MAX), st.integers(0, EXACT_MAX), st.integers(-1, 1), st.booleans())
@example(SPAN_MAX // 2, 2, -1, False)
@example(3, EXACT_MAX // 3, -1, True)
def test_a_quotient_next_to_a_whole_number_is_rounded_to_neither_side(
    divisor: int, times: int, off: int, is_negative: bool
) -> None:
    times %= EXACT_MAX // divisor
    dividend = times * divisor + off
    if is_negative:
        dividend = -dividend
    if abs(dividend) + divisor < EXACT_MAX:
        assert math.floor(float(dividend) / float(divisor)) == dividend // divisor


@given(st.integers(-SPAN_MAX, SPAN_MAX), st.integers(1, SPAN_MAX))
def test_any_quotient_is_that_of_whole_numbers(dividend: int, divisor: int) -> None:
    if abs(dividend) + divisor < EXACT_MAX:
        assert math.floor(float(dividend) / float(divisor)) == dividend // divisor


@given(st.integers(-(10**30), 10**30), st.integers(1, SPAN_MAX), st.integers(-SPAN_MAX, SPAN_MAX))
def test_a_product_too_large_for_a_double_is_on_the_same_side_of_every_level(
    amount: int, token_units: int, level: int
) -> None:
    product = float(amount) * float(token_units)
    assert (product <= float(level)) == (amount * token_units <= level)
    assert (product >= float(level)) == (amount * token_units >= level)
