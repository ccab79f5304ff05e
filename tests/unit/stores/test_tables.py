"""Moments come back as they went in, in both databases."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Dialect

from aiservice.stores.tables import Moment

LAST_US = 253_402_300_799_999_999  # the end of the year 9999
MOMENT = Moment()


@pytest.mark.parametrize("dialect", [postgresql.dialect(), sqlite.dialect()], ids=["postgresql", "sqlite"])
@given(us=st.integers(min_value=-62_135_596_800_000_000, max_value=LAST_US))
def test_no_microsecond_is_lost(dialect: Dialect, us: int):
    assert MOMENT.process_result_value(MOMENT.process_bind_param(us, dialect), dialect) == us


def test_postgresql_gets_the_time_in_utc_and_sqlite_the_number():
    moment = MOMENT.process_bind_param(1_769_860_800_000_001, postgresql.dialect())

    assert moment == datetime(2026, 1, 31, 12, 0, 0, 1, tzinfo=UTC)
    assert MOMENT.process_bind_param(1_769_860_800_000_001, sqlite.dialect()) == 1_769_860_800_000_001


@pytest.mark.parametrize("dialect", [postgresql.dialect(), sqlite.dialect()], ids=["postgresql", "sqlite"])
def test_no_moment_is_none(dialect: Dialect):
    assert MOMENT.process_bind_param(None, dialect) is None
    assert MOMENT.process_result_value(None, dialect) is None
