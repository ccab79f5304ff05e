"""Every `RuleStore`: the same cases over memory and over the main database."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from aiservice.core.clock import ManualClock
from aiservice.core.errors import StoreUnavailable
from aiservice.limits import Rule, RuleStore
from aiservice.limits.memory import MemoryRuleStore
from aiservice.limits.sql import SqlRuleStore
from aiservice.stores.databases import open_main
from tests.conformance.databases import DATABASES, FAULTS, EngineOn, broken

NOW_US = 1_750_000_000_000_000
ACME = Rule("acme", requests_per_hour=1_000, tokens_per_hour=50_000, concurrency=20)
ANN = Rule("acme", "ann", requests_per_hour=10)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW_US)


@pytest.fixture(params=["memory", *DATABASES])
async def store(request: pytest.FixtureRequest, engine_on: EngineOn, clock: ManualClock) -> RuleStore:
    if request.param == "memory":
        return MemoryRuleStore(clock)
    return SqlRuleStore(await engine_on(request.param), clock)


async def test_rules_come_back_as_they_went_in_the_users_first(store: RuleStore) -> None:
    assert list(await store.find("acme", "ann")) == []
    acme, ann = await store.put(ACME), await store.put(ANN)
    assert replace(acme, changed_at_us=0) == ACME
    assert list(await store.find("acme", "ann")) == [ann, acme]
    assert list(await store.find("acme", "bob")) == [acme]
    assert list(await store.find("acme", None)) == [acme]
    assert list(await store.find("other", "ann")) == []


async def test_a_user_may_have_a_rule_where_the_tenant_has_none(store: RuleStore) -> None:
    ann = await store.put(ANN)
    assert list(await store.find("acme", "ann")) == [ann]
    assert list(await store.find("acme", None)) == []


async def test_a_rule_is_replaced_whole(store: RuleStore, clock: ManualClock) -> None:
    await store.put(ACME)
    await store.put(ANN)
    clock.advance_s(1)
    lifted = await store.put(Rule("acme", tokens_per_hour=7))
    assert list(await store.find("acme", None)) == [lifted]
    assert lifted == Rule("acme", tokens_per_hour=7, changed_at_us=NOW_US + 1_000_000)
    assert len(await store.page(tenant_id=None, after=None, limit=9)) == 2


async def test_changes_have_the_clocks_time_and_never_an_earlier_one_than_the_last(
    store: RuleStore, clock: ManualClock
) -> None:
    assert await store.newest_us() == 0
    assert (await store.put(ACME)).changed_at_us == NOW_US
    assert (await store.put(ANN)).changed_at_us == NOW_US + 1
    clock.advance_s(-86_400)
    assert (await store.put(ACME)).changed_at_us == NOW_US + 2
    clock.advance_s(2 * 86_400)
    assert (await store.put(ANN)).changed_at_us == NOW_US + 86_400_000_000
    assert await store.newest_us() == NOW_US + 86_400_000_000


async def test_what_was_changed_after_a_time(store: RuleStore, clock: ManualClock) -> None:
    acme = await store.put(ACME)
    clock.advance_s(5)
    ann = await store.put(ANN)
    assert set(await store.changed_after(0)) == {acme, ann}
    assert set(await store.changed_after(NOW_US - 1)) == {acme, ann}
    assert set(await store.changed_after(NOW_US)) == {ann}
    assert set(await store.changed_after(NOW_US + 5_000_000)) == set()


async def test_pages_are_in_the_order_of_tenant_and_user(store: RuleStore) -> None:
    names = [("acme", None), ("acme", "ann"), ("acme", "bob"), ("acme2", None), ("beta", "ann")]
    rules = {name: await store.put(Rule(*name, concurrency=1)) for name in Random(7).sample(names, len(names))}
    expected = [rules[name] for name in names]
    assert list(await store.page(tenant_id=None, after=None, limit=9)) == expected
    assert list(await store.page(tenant_id="acme", after=None, limit=9)) == expected[:3]
    assert list(await store.page(tenant_id="nobody", after=None, limit=9)) == []
    found: list[Rule] = []
    while page := await store.page(
        tenant_id=None, after=(found[-1].tenant_id, found[-1].user_id) if found else None, limit=2
    ):
        assert len(page) <= 2
        found += page
    assert found == expected
    assert list(await store.page(tenant_id="acme", after=("acme", "ann"), limit=9)) == expected[2:3]


async def test_rules_are_sorted_by_their_bytes_whatever_the_language(store: RuleStore) -> None:
    names = ["ACME", "Zeta", "_x", "acme", "acme.1", "acme1", "beta", "\u00e4rger"]
    for name in Random(3).sample(names, len(names)):
        await store.put(Rule(name, concurrency=1))
    found = await store.page(tenant_id=None, after=None, limit=9)
    assert [rule.tenant_id for rule in found] == names
    after = await store.page(tenant_id=None, after=("_x", None), limit=9)
    assert [rule.tenant_id for rule in after] == names[3:]


async def test_the_largest_numbers_fit(store: RuleStore) -> None:
    largest = await store.put(Rule("acme", "x" * 64, 1_000_000_000, 1_000_000_000, 100_000))
    assert list(await store.find("acme", "x" * 64)) == [largest]


@pytest.mark.parametrize(
    "ask",
    [
        lambda store: store.put(ACME),
        lambda store: store.find("acme", None),
        lambda store: store.page(tenant_id=None, after=None, limit=1),
        lambda store: store.newest_us(),
        lambda store: store.changed_after(0),
    ],
)
@pytest.mark.parametrize("fault", FAULTS)
async def test_a_database_that_cannot_be_used_is_unavailable(
    tmp_path: Path, fault: str, ask: Callable[[RuleStore], Awaitable[object]]
) -> None:
    engine = open_main(broken(fault, tmp_path))
    with pytest.raises(StoreUnavailable):
        await ask(SqlRuleStore(engine, ManualClock(NOW_US)))
    await engine.dispose()
