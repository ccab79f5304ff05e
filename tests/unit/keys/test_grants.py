"""What a key may be: bounds for everyone, and never more than the key that asks."""

from dataclasses import replace

import pytest

from aiservice.core.errors import FieldInvalid, NotAllowed
from aiservice.core.settings import LimitSettings
from aiservice.keys import LOCAL_CALLER, SCOPES, KeyRequest
from aiservice.keys.grants import check_local, check_overlap, check_within, checked, requests_per_hour
from aiservice.keys.model import caller_of
from aiservice.keys.secret import make

LIMITS = LimitSettings()
ASKED = KeyRequest(tenant_id="acme", user_id="ann", name="a key", scopes=("generate",))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tenant_id", ""),
        ("tenant_id", "a b"),
        ("tenant_id", "x" * 65),
        ("tenant_id", "{acme}"),
        ("tenant_id", "acme\n"),
        ("tenant_id", "аcme"),  # a Cyrillic first letter
        ("user_id", ""),
        ("user_id", "-ann"),
        ("name", ""),
        ("name", "  "),
        ("name", "x" * 129),
        ("name", "two\nlines"),
        ("tier", "gold"),
        ("scopes", ()),
        ("scopes", ("generate", "root")),
        ("models", ("",)),
        ("models", ("m",) * 101),
        ("models", ("x" * 257,)),
        ("allowed_ips", ("300.0.0.1",)),
        ("allowed_ips", ("localhost",)),
        ("quota_requests_per_hour", 0),
        ("quota_requests_per_hour", 1_000_000_001),
        ("tokens_per_hour", -1),
        ("concurrency", 0),
        ("expires_in_days", 0),
        ("expires_in_days", 3_651),
    ],
)
def test_a_field_out_of_range_is_named(field: str, value: object):
    with pytest.raises(FieldInvalid) as caught:
        checked(replace(ASKED, **{field: value}))

    assert caught.value.param == field
    assert field in caught.value.public


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tenant_id", "t-1@example.org:x_y"),
        ("user_id", None),
        ("quota_requests_per_hour", 1_000_000_000),
        ("expires_in_days", 3_650),
        ("scopes", SCOPES),
    ],
)
def test_a_field_at_its_bound_is_taken(field: str, value: object):
    assert getattr(checked(replace(ASKED, **{field: value})), field) == value


def test_names_are_cleaned():
    """Zero-width and direction marks go, and an accent written apart is put together."""
    assert checked(replace(ASKED, name=" cafe\u0301\u200b \u202emain ")).name == "café main"


def test_networks_have_one_form_and_scopes_no_doubles():
    request = checked(replace(ASKED, allowed_ips=("192.0.2.7", "10.1.2.3/8"), scopes=("sql", "generate", "sql")))

    assert request.allowed_ips == ("192.0.2.7/32", "10.0.0.0/8")
    assert request.scopes == ("sql", "generate")


@pytest.mark.parametrize("overlap_s", [-1, 604_801])
def test_an_overlap_out_of_range_is_named(overlap_s: int):
    with pytest.raises(FieldInvalid) as caught:
        check_overlap(overlap_s)
    assert caught.value.param == "overlap_seconds"


def test_an_overlap_of_a_week_is_taken():
    check_overlap(0)
    check_overlap(604_800)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"tenant_id": "other"}, "own tenant only, acme"),
        ({"tier": "enterprise"}, "own tier only, pro"),
        ({"scopes": ("generate", "sql")}, "lacks sql"),
        ({"scopes": ("admin",)}, "lacks admin"),
        ({"quota_requests_per_hour": 501}, "at most 500 per hour"),
        ({"tier": "pro"}, "at most 500 per hour"),
        ({"tokens_per_hour": 5}, "admin key only"),
        ({"concurrency": 5}, "admin key only"),
        ({"models": ()}, "own models: a, b"),
        ({"models": ("a", "c")}, "own models: a, b"),
        ({"allowed_ips": ()}, "own addresses: 10.0.0.0/8"),
        ({"allowed_ips": ("10.1.0.0/16", "11.0.0.0/8")}, "own addresses"),
        ({"allowed_ips": ("::/0",)}, "own addresses"),
    ],
)
def test_a_key_gives_away_no_more_than_it_has(row_of, changes: dict[str, object], sentence: str):
    parent = row_of(make(), tier="pro", quota_requests_per_hour=500, models=("a", "b"), allowed_ips=("10.0.0.0/8",))
    fits = replace(ASKED, models=("a",), allowed_ips=("10.1.0.0/16",))
    by = caller_of(parent)
    assert check_within(fits, by=by, parent=parent, limits=LIMITS) == fits

    with pytest.raises(NotAllowed, match=sentence):
        check_within(replace(fits, **changes), by=by, parent=parent, limits=LIMITS)


def test_limits_of_tokens_pass_on(row_of):
    parent = row_of(make(), tokens_per_hour=1_000, concurrency=2)

    made = check_within(ASKED, by=caller_of(parent), parent=parent, limits=LIMITS)

    assert (made.tokens_per_hour, made.concurrency) == (1_000, 2)


def test_a_tier_s_own_quota_counts_where_none_is_named(row_of):
    parent = row_of(make(), tier="free")
    by = caller_of(parent)

    assert check_within(ASKED, by=by, parent=parent, limits=LIMITS).tier == "free"
    with pytest.raises(NotAllowed, match="at most 100 per hour"):
        check_within(replace(ASKED, quota_requests_per_hour=101), by=by, parent=parent, limits=LIMITS)


def test_the_free_tier_s_window_is_counted_in():
    limits = LimitSettings(default_rate_limit=10, default_rate_window_s=60)

    assert requests_per_hour("free", None, limits) == 600
    assert requests_per_hour("pro", None, limits) == 1_000
    assert requests_per_hour("free", 7, limits) == 7


def test_development_may_ask_for_any_tenant_tier_and_quota():
    check_local(replace(ASKED, tenant_id="other", tier="enterprise", quota_requests_per_hour=10_000))
    assert LOCAL_CALLER.is_local


@pytest.mark.parametrize(
    "changes", [{"scopes": ("admin",)}, {"tenant_id": "platform"}, {"tokens_per_hour": 1}, {"concurrency": 1}]
)
def test_development_may_not_ask_for_the_operator_s(changes: dict[str, object]):
    with pytest.raises(NotAllowed):
        check_local(replace(ASKED, **changes))
