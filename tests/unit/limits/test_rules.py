"""Rules are read once, a change is heard of in time, and a store that is away changes nothing."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from aiservice.core.clock import ManualClock
from aiservice.core.errors import StoreUnavailable
from aiservice.core.settings import LimitSettings
from aiservice.limits import Rule
from aiservice.limits.memory import MemoryRuleStore
from aiservice.limits.rules import REREAD_US, Rules
from tests.unit.limits.facts import Facts
from tests.unit.stores.belfry import Belfry

SECOND_US = 1_000_000


@dataclass
class Store(MemoryRuleStore):
    """A store that counts, fails and makes its readers wait when told."""

    clock: ManualClock = field(default_factory=ManualClock)
    finds: int = 0
    failure: Exception | None = None
    gate: asyncio.Event | None = None

    def __post_init__(self) -> None:
        super().__init__(self.clock)

    async def find(self, tenant_id: str, user_id: str | None) -> Sequence[Rule]:
        self.finds += 1
        if self.failure is not None:
            raise self.failure
        found = await super().find(tenant_id, user_id)
        if self.gate is not None:
            await self.gate.wait()
        return found

    async def changed_after(self, since_us: int) -> Sequence[Rule]:
        if self.failure is not None:
            raise self.failure
        return await super().changed_after(since_us)

    async def until_asked(self, finds: int) -> None:
        while self.finds < finds:
            await asyncio.sleep(0)

    async def put_late(self, rule: Rule) -> None:
        """Another process's change whose time is older than what was shown: its clock is behind, or its commit late."""
        self._rules[rule.tenant_id, rule.user_id or ""] = rule


@pytest.fixture
def store() -> Store:
    return Store()


def make(store: Store, plans_max: int = 100) -> Rules:
    return Rules(LimitSettings(), store, plans_max=plans_max)


async def limits_of(rules: Rules, facts: Facts) -> list[tuple[str, int]]:
    return [(bucket.id, bucket.burst) for bucket in (await rules.plan(facts)).requests[1:]]


async def test_rules_are_read_once_for_each_subject(store: Store) -> None:
    await store.put(Rule("acme", "ann", requests_per_hour=7))
    rules = make(store)
    assert rules.known(Facts()) is None
    first = await rules.plan(Facts())
    assert rules.known(Facts()) is first
    assert await rules.plan(Facts()) is first
    assert [bucket.burst for bucket in first.requests] == [100, 7]
    assert store.finds == 1


async def test_a_subject_whose_facts_changed_is_looked_at_anew(store: Store) -> None:
    rules = make(store)
    await rules.plan(Facts())
    raised = Facts(quota_requests_per_hour=9)
    assert rules.known(raised) is None
    assert (await rules.plan(raised)).requests[0].burst == 9
    assert rules.known(raised) is not None


async def test_remembered_plans_are_bounded(store: Store) -> None:
    rules = make(store, plans_max=2)
    for name in ("oldest", "younger", "youngest"):
        await rules.plan(Facts(logical_id=name))
    assert rules.known(Facts(logical_id="oldest")) is None
    await rules.plan(Facts(logical_id="younger", tier="pro"))
    assert rules.known(Facts(logical_id="younger", tier="pro")) is not None
    assert rules.known(Facts(logical_id="youngest")) is not None


async def test_those_who_come_together_ask_once(store: Store) -> None:
    store.gate = asyncio.Event()
    rules = make(store)
    waiting = [asyncio.create_task(rules.plan(Facts(logical_id=f"k{number % 3}"))) for number in range(9)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    store.gate.set()
    done = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(done[0], asyncio.CancelledError)
    assert [isinstance(one, BaseException) for one in done[1:]] == [False] * 8
    assert store.finds == 1


async def test_a_failure_is_everyones_and_the_next_asks_again(store: Store) -> None:
    store.failure = StoreUnavailable()
    rules = make(store)
    done = await asyncio.gather(*[rules.plan(Facts()) for _ in range(3)], return_exceptions=True)
    assert [type(one) for one in done] == [StoreUnavailable] * 3
    store.failure = None
    await rules.plan(Facts())
    assert store.finds == 2


async def test_a_reading_that_is_ended_with_its_worker_leaves_nothing(store: Store) -> None:
    store.gate = asyncio.Event()
    rules = make(store)
    others = asyncio.all_tasks()
    waiting = asyncio.create_task(rules.plan(Facts()))
    await store.until_asked(1)
    for task in asyncio.all_tasks() - others:
        task.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    store.gate.set()
    assert (await rules.plan(Facts())).requests
    assert store.finds == 2


async def test_the_worker_that_changes_a_rule_knows_it_at_once(store: Store) -> None:
    rules = make(store)
    assert await limits_of(rules, Facts()) == []
    stored = await rules.put(Rule("acme", requests_per_hour=5))
    assert stored.changed_at_us == store.clock.now_us()
    assert await limits_of(rules, Facts()) == [("requests:tenant:acme", 5)]


async def test_a_poll_drops_the_plans_of_the_changed_subjects_only(store: Store) -> None:
    rules = make(store)
    await rules.poll()
    everyone = {
        "ann": Facts(logical_id="ann"),
        "bob": Facts(logical_id="bob", user_id="bob"),
        "nobody": Facts(logical_id="nobody", user_id=None),
        "other ann": Facts(logical_id="other ann", tenant_id="other"),
    }

    async def dropped_by(rule: Rule) -> set[str]:
        for facts in everyone.values():
            await rules.plan(facts)
        await store.put(rule)
        await rules.poll()
        return {name for name, facts in everyone.items() if rules.known(facts) is None}

    assert await dropped_by(Rule("acme", "ann", requests_per_hour=1)) == {"ann"}
    assert await dropped_by(Rule("acme", requests_per_hour=2)) == {"ann", "bob", "nobody"}
    assert await dropped_by(Rule("other", "ann", concurrency=1)) == {"other ann"}
    assert await dropped_by(Rule("third", requests_per_hour=1)) == set()


async def test_a_change_is_taken_in_once(store: Store) -> None:
    rules = make(store)
    await rules.poll()
    await store.put(Rule("acme", requests_per_hour=2))
    for is_known in (False, True, True):
        await rules.plan(Facts())
        await rules.poll()
        assert (rules.known(Facts()) is not None) == is_known
    await store.put(Rule("acme", requests_per_hour=2))
    await rules.poll()
    assert rules.known(Facts()) is None, "the same limits again are a change too"


@pytest.mark.parametrize(("behind_us", "is_seen"), [(0, True), (REREAD_US - 1, True), (REREAD_US, False)])
async def test_a_change_may_be_ten_seconds_older_than_the_newest(store: Store, behind_us: int, is_seen: bool) -> None:
    rules = make(store)
    newest = await store.put(Rule("third", requests_per_hour=1))
    await rules.poll()
    await rules.plan(Facts())
    await store.put_late(Rule("acme", requests_per_hour=4, changed_at_us=newest.changed_at_us - behind_us))
    await rules.poll()
    assert (rules.known(Facts()) is None) == is_seen


async def test_a_change_is_seen_also_when_the_clock_went_back_by_years(store: Store) -> None:
    rules = make(store)
    await store.put(Rule("third", requests_per_hour=1))
    await rules.poll()
    await rules.plan(Facts())
    store.clock.advance_s(-10 * 365 * 86_400)
    await store.put(Rule("acme", requests_per_hour=4))
    await rules.poll()
    assert await limits_of(rules, Facts()) == [("requests:tenant:acme", 4)]


async def test_a_change_before_the_watch_began_is_not_missed(store: Store) -> None:
    """Read at the start, changed a long time before the first poll that succeeded, and not the newest by then."""
    rules = make(store)
    assert await limits_of(rules, Facts()) == []
    await store.put(Rule("acme", requests_per_hour=4))
    store.clock.advance_s(3_600)
    await store.put(Rule("third", requests_per_hour=1))
    await rules.poll()
    assert await limits_of(rules, Facts()) == [("requests:tenant:acme", 4)]


async def test_what_was_read_before_a_change_is_read_again(store: Store) -> None:
    rules = make(store)
    await rules.poll()
    store.gate = asyncio.Event()
    reading = asyncio.create_task(rules.plan(Facts()))
    await store.until_asked(1)
    await rules.put(Rule("acme", requests_per_hour=4))
    store.gate.set()
    assert [bucket.burst for bucket in (await reading).requests] == [100, 4]
    assert store.finds == 2
    assert rules.known(Facts()) is not None


async def test_what_was_read_through_two_changes_is_used_but_not_kept(store: Store) -> None:
    rules = make(store)
    await rules.poll()
    gates = [asyncio.Event(), asyncio.Event()]
    store.gate = gates[0]
    reading = asyncio.create_task(rules.plan(Facts()))
    await store.until_asked(1)
    await rules.put(Rule("acme", requests_per_hour=4))
    store.gate = gates[1]
    gates[0].set()
    await store.until_asked(2)
    await rules.put(Rule("acme", requests_per_hour=6))
    gates[1].set()
    assert [bucket.burst for bucket in (await reading).requests] == [100, 4]
    assert rules.known(Facts()) is None
    assert await limits_of(rules, Facts()) == [("requests:tenant:acme", 6)]


async def test_while_the_store_is_away_known_subjects_go_on(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    rules = make(store)
    known = await rules.plan(Facts())
    store.failure = StoreUnavailable()
    with caplog.at_level(logging.WARNING):
        await watched(rules)
    assert [record.getMessage().partition(",")[0] for record in caplog.records] == ["changed limits cannot be read"]
    assert await rules.plan(Facts()) is known
    with pytest.raises(StoreUnavailable):
        await rules.plan(Facts(logical_id="new"))


async def test_who_waits_for_a_store_that_hangs_is_told_in_time_and_the_next_asks_with_the_others(store: Store) -> None:
    rules = Rules(LimitSettings(), store, answer_s_max=0.05)
    known = await rules.plan(Facts())
    store.gate = asyncio.Event()
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            await rules.plan(Facts(logical_id="new", tenant_id="new"))
    assert await rules.plan(Facts()) is known
    assert store.finds == 2
    store.gate.set()
    assert await rules.plan(Facts(logical_id="new", tenant_id="new"))


async def test_a_changed_rule_is_rung_and_heard_without_a_poll_being_due(store: Store) -> None:
    bell = Belfry()
    here, there = (Rules(LimitSettings(), store, bell=bell) for _ in range(2))
    watching = [asyncio.create_task(rules.watch(poll_s=60)) for rules in (here, there)]
    await asyncio.sleep(0.01)
    await there.plan(Facts())
    await here.put(Rule("acme", requests_per_hour=4))
    async with asyncio.timeout(5):
        while there.known(Facts()) is not None:
            await asyncio.sleep(0.01)
    assert await limits_of(there, Facts()) == [("requests:tenant:acme", 4)]
    assert bell.rung == ["ai:rules"]
    for watch in watching:
        watch.cancel()
    await asyncio.gather(*watching, return_exceptions=True)


async def test_the_watch_outlives_a_fault_and_says_so(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    store.failure = ZeroDivisionError("a fault of ours")
    await watched(make(store))
    assert "the watch over limits failed and goes on" in caplog.text


async def test_the_watch_sees_a_change_within_two_seconds(store: Store) -> None:
    rules = make(store)
    watching = asyncio.create_task(rules.watch())
    await asyncio.sleep(0.01)
    await rules.plan(Facts())
    await store.put(Rule("acme", requests_per_hour=4))
    async with asyncio.timeout(2):
        while rules.known(Facts()) is not None:
            await asyncio.sleep(0.01)
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    assert await limits_of(rules, Facts()) == [("requests:tenant:acme", 4)]


@pytest.mark.parametrize("failure", [None, StoreUnavailable(), ZeroDivisionError("a fault of ours")])
async def test_a_poll_that_is_under_way_ends_before_the_watch_does(failure: Exception | None) -> None:
    """However it ends: one that fails must not make the watch forget that it was cancelled."""
    polled = asyncio.Event()

    class Slow(Store):
        async def changed_after(self, since_us: int) -> Sequence[Rule]:
            await asyncio.sleep(0.05)
            polled.set()
            return await super().changed_after(since_us)

    watching = asyncio.create_task(make(Slow(failure=failure)).watch())
    await asyncio.sleep(0.01)
    watching.cancel()
    async with asyncio.timeout(5):
        await asyncio.gather(watching, return_exceptions=True)
    assert watching.cancelled()
    assert polled.is_set()


async def watched(rules: Rules) -> None:
    """The watch goes round some times, and does not end by itself."""
    watching = asyncio.create_task(rules.watch(poll_s=0.001))
    await asyncio.sleep(0.05)
    assert not watching.done()
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
