"""Cache-Control as callers write it."""

import pytest

from aiservice.cache import POLICY_DEFAULT, CachePolicy, read_policy
from aiservice.core.errors import InvalidRequest


@pytest.mark.parametrize("header", [None, ""])
def test_no_header_asks_for_nothing_special(header: str | None) -> None:
    assert read_policy(header) is POLICY_DEFAULT
    assert CachePolicy(may_read=True, may_write=True, only_if_cached=False, max_age_s=None) == POLICY_DEFAULT


@pytest.mark.parametrize(
    ("header", "policy"),
    [
        ("no-store", CachePolicy(may_read=False, may_write=False)),
        ("no-cache", CachePolicy(may_read=False)),
        ("no-cache, no-store", CachePolicy(may_read=False, may_write=False)),
        ("only-if-cached", CachePolicy(only_if_cached=True)),
        ("max-age=60", CachePolicy(max_age_s=60)),
        ("max-age=0", CachePolicy(max_age_s=0)),
        ('max-age="60"', CachePolicy(max_age_s=60)),
        ("max-age=60, max-age=30", CachePolicy(max_age_s=30)),
        ("max-age=30, max-age=60", CachePolicy(max_age_s=30)),
        ("max-age=99999999999999999999", CachePolicy(max_age_s=2_147_483_647)),
        (" NO-Cache ,, Max-Age = 5 ,only-IF-cached", CachePolicy(may_read=False, only_if_cached=True, max_age_s=5)),
        ("no-transform, max-stale=10, private=x, stale-if-error", POLICY_DEFAULT),
        ("no-storeroom, xno-cache, max-agent=3", POLICY_DEFAULT),
        (",", POLICY_DEFAULT),
    ],
)
def test_what_a_header_comes_to(header: str, policy: CachePolicy) -> None:
    assert read_policy(header) == policy


@pytest.mark.parametrize(
    "value",
    [
        "max-age",
        "max-age=",
        "max-age=-1",
        "max-age=1.5",
        "max-age=ten",
        "max-age=+1",
        "max-age=١",
        'max-age="1',
        "max-age=1 2",
        "max-age=" + "9" * 33,
    ],
)
def test_a_bad_max_age_is_refused_with_what_it_takes(value: str) -> None:
    with pytest.raises(InvalidRequest, match="whole number of seconds") as caught:
        read_policy("no-cache, " + value)
    assert caught.value.param == "Cache-Control"
