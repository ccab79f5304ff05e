"""Every IdempotencyStore gives the same answers. A new backend is one more row of `store`."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncEngine

from aiservice.core.clock import ManualClock
from aiservice.core.errors import StoreUnavailable
from aiservice.core.ids import uuid7
from aiservice.core.settings import Settings
from aiservice.gateway import Attempt, Found, IdempotencyStore
from aiservice.gateway.memory import MemoryIdempotencyStore
from aiservice.gateway.port import LEASE_S, TTL_S
from aiservice.gateway.sql import SqlIdempotencyStore, taking
from aiservice.stores.databases import open_main
from tests.conformance.databases import DATABASES, FAULTS, EngineOn, broken, refuse_updates

NOW_US = 1_750_000_000_000_000
A, B = b"a" * 32, b"b" * 32


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW_US)


@pytest.fixture(params=["memory", *DATABASES])
async def store(request: pytest.FixtureRequest, engine_on: EngineOn, clock: ManualClock) -> IdempotencyStore:
    if request.param == "memory":
        return MemoryIdempotencyStore(clock)
    return SqlIdempotencyStore(await engine_on(request.param), clock)


def attempt_of(key: str = "k", *, caller_id: str = "ann", request_hash: bytes = A) -> Attempt:
    return Attempt(uuid7(NOW_US), caller_id, "acme", key, request_hash)


async def answered(store: IdempotencyStore, attempt: Attempt, answer: bytes = b"sealed") -> Attempt:
    assert await store.begin(attempt) is None
    assert await store.finish(attempt, answer)
    return attempt


async def test_the_first_attempt_runs_and_the_next_hears_of_it(store):
    first = attempt_of()

    assert await store.begin(first) is None
    assert await store.begin(attempt_of(request_hash=B)) == Found(first.id, A, None)


async def test_an_answer_is_found_as_it_was_kept(store):
    first = await answered(store, attempt_of(), bytes(range(256)) * 4_000)

    assert await store.begin(attempt_of()) == Found(first.id, A, bytes(range(256)) * 4_000)


@pytest.mark.parametrize("other", [{"key": "K"}, {"key": "k "}, {"caller_id": "bob"}])
async def test_callers_and_keys_are_apart(store, other):
    await answered(store, attempt_of())

    assert await store.begin(attempt_of(**other)) is None


async def test_of_twenty_at_once_one_runs(store):
    attempts = [attempt_of() for _ in range(20)]

    found = await asyncio.gather(*map(store.begin, attempts))

    (winner,) = (attempt for attempt, one in zip(attempts, found, strict=True) if one is None)
    assert sum(one == Found(winner.id, A, None) for one in found) == 19


async def test_of_twenty_at_once_one_takes_over(store, clock):
    await store.begin(attempt_of())
    clock.advance_s(LEASE_S)

    found = await asyncio.gather(*(store.begin(attempt_of()) for _ in range(20)))

    assert found.count(None) == 1


async def test_without_a_sign_of_life_the_key_is_taken_over(store, clock):
    lost, second = attempt_of(), attempt_of(request_hash=B)
    await store.begin(lost)
    clock.advance_s(LEASE_S - 0.000_001)
    assert await store.begin(second) == Found(lost.id, A, None)
    clock.advance_s(0.000_001)

    assert await store.begin(second) is None
    assert await store.begin(attempt_of()) == Found(second.id, B, None)


async def test_a_sign_of_life_holds_the_key(store, clock):
    first = attempt_of()
    await store.begin(first)
    for _ in range(3):
        clock.advance_s(LEASE_S - 1)
        assert await store.renew(first)

    assert await store.begin(attempt_of()) == Found(first.id, A, None)


async def test_what_was_taken_over_belongs_to_the_new_attempt_alone(store, clock):
    lost, second = attempt_of(), attempt_of()
    await store.begin(lost)
    clock.advance_s(LEASE_S)
    await store.begin(second)

    assert not await store.renew(lost)
    assert not await store.finish(lost, b"late")
    await store.release(lost)
    assert await store.begin(attempt_of()) == Found(second.id, A, None)
    assert await store.finish(second, b"whole")


async def test_a_lapsed_attempt_that_nobody_took_over_may_still_answer(store, clock):
    slow = attempt_of()
    await store.begin(slow)
    clock.advance_s(LEASE_S * 2)

    assert await store.renew(slow)
    assert await store.finish(slow, b"late but whole")
    assert await store.begin(attempt_of()) == Found(slow.id, A, b"late but whole")


async def test_an_answered_key_does_not_lapse_with_the_lease(store, clock):
    first = await answered(store, attempt_of())
    clock.advance_s(LEASE_S * 10)

    assert await store.begin(attempt_of()) == Found(first.id, A, b"sealed")


async def test_a_released_key_is_free_for_another_request(store):
    first = attempt_of()
    await store.begin(first)

    await store.release(first)

    assert await store.begin(attempt_of(request_hash=B)) is None


async def test_an_answer_is_neither_released_nor_replaced(store):
    first = await answered(store, attempt_of())

    await store.release(first)
    assert not await store.finish(first, b"another")
    assert not await store.renew(first)
    assert await store.begin(attempt_of()) == Found(first.id, A, b"sealed")


async def test_an_answer_is_kept_for_a_day_from_its_beginning(store, clock):
    first = attempt_of()
    await store.begin(first)
    clock.advance_s(LEASE_S / 2)
    await store.finish(first, b"sealed")
    clock.advance_s(TTL_S - LEASE_S / 2 - 0.000_001)
    assert await store.begin(attempt_of()) == Found(first.id, A, b"sealed")
    clock.advance_s(0.000_001)

    assert await store.begin(attempt_of(request_hash=B)) is None


async def test_a_named_attempt_is_taken_over_and_no_other(store):
    first = await answered(store, attempt_of())
    second, third = attempt_of(request_hash=B), attempt_of()

    assert await store.begin(second, over=third.id) == Found(first.id, A, b"sealed")
    assert await store.begin(second, over=first.id) is None
    assert await store.begin(third, over=first.id) == Found(second.id, B, None)


async def test_a_clock_that_goes_back_frees_nothing(store, clock):
    first = attempt_of()
    await store.begin(first)
    clock.set_us(NOW_US - 3_600_000_000)

    assert await store.begin(attempt_of()) == Found(first.id, A, None)


async def test_what_has_expired_is_swept_in_steps(store, clock):
    for number in range(5):
        await store.begin(attempt_of(f"old {number}"))
    clock.advance_s(TTL_S)
    young = await answered(store, attempt_of("young"))

    assert [await store.sweep(rows_max=2) for _ in range(4)] == [2, 2, 1, 0]
    assert await store.begin(attempt_of("young")) == Found(young.id, A, b"sealed")


async def test_a_key_that_was_begun_anew_is_not_swept(store, clock):
    await store.begin(attempt_of())
    clock.advance_s(TTL_S)
    second = attempt_of()
    await store.begin(second)

    assert await store.sweep(rows_max=9) == 0
    assert await store.begin(attempt_of()) == Found(second.id, A, None)


async def test_keys_of_the_full_length_are_told_apart(store):
    ids = {"key": "k" * 255, "caller_id": "c" * 64}
    first = await answered(store, attempt_of(**ids))

    assert await store.begin(attempt_of(**ids)) == Found(first.id, A, b"sealed")
    assert await store.begin(attempt_of("k" * 254, caller_id="c" * 64)) is None


@dataclass
class Model:
    """What a store has to answer, in the plainest words: of each key its attempt, lease, end and answer."""

    now_us: int = NOW_US
    rows: dict[str, tuple[Attempt, int, int, bytes | None]] = field(default_factory=dict)

    def begin(self, attempt: Attempt, over: str | None) -> Found | None:
        if attempt.key in self.rows:
            old, lease_us, end_us, answer = self.rows[attempt.key]
            is_lost = answer is None and self.now_us >= lease_us
            if self.now_us < end_us and not is_lost and old.id != over:
                return Found(old.id, old.request_hash, answer)
        self.rows[attempt.key] = attempt, self.now_us + LEASE_S * 10**6, self.now_us + TTL_S * 10**6, None
        return None

    def renew(self, attempt: Attempt) -> bool:
        return self._change(attempt, lambda _, end_us: (attempt, self.now_us + LEASE_S * 10**6, end_us, None))

    def finish(self, attempt: Attempt, answer: bytes) -> bool:
        return self._change(attempt, lambda lease_us, end_us: (attempt, lease_us, end_us, answer))

    def release(self, attempt: Attempt) -> None:
        if self._change(attempt, lambda *_: (attempt, 0, 0, None)):
            del self.rows[attempt.key]

    def sweep(self) -> int:
        expired = [key for key, row in self.rows.items() if row[2] <= self.now_us]
        for key in expired:
            del self.rows[key]
        return len(expired)

    def _change(self, attempt: Attempt, change: Callable[[int, int], tuple[Attempt, int, int, bytes | None]]) -> bool:
        old, lease_us, end_us, answer = self.rows.get(attempt.key, (None, 0, 0, None))
        if old != attempt or answer is not None:
            return False
        self.rows[attempt.key] = change(lease_us, end_us)
        return True


async def walk(store: IdempotencyStore, clock: ManualClock, *, steps: int, seed: int) -> None:
    """Random steps on few keys, on a clock that runs, stands, jumps and goes back; the store answers as the model."""
    source, model, attempts = random.Random(seed), Model(), [attempt_of("0")]
    for step in range(steps):
        attempt = source.choice(attempts[-6:])
        context = (seed, step)
        match source.randrange(12):
            case 0 | 1 | 2 | 3:
                attempts.append(attempt_of(str(source.randrange(4)), request_hash=source.choice((A, B))))
                over = source.choice((None, None, attempt.id))
                assert await store.begin(attempts[-1], over=over) == model.begin(attempts[-1], over), context
            case 4 | 5:
                assert await store.renew(attempt) == model.renew(attempt), context
            case 6 | 7:
                answer = source.randbytes(source.randrange(3))
                assert await store.finish(attempt, answer) == model.finish(attempt, answer), context
            case 8:
                await store.release(attempt)
                model.release(attempt)
            case 9:
                assert await store.sweep(rows_max=100) == model.sweep(), context
            case _:
                model.now_us += source.choice((1, 10**6, 10**7, LEASE_S * 10**6, TTL_S * 10**6, -(10**6), -(10**10)))
                clock.set_us(model.now_us)


async def test_random_steps_agree_with_the_model(store, clock):
    await walk(store, clock, steps=400, seed=1)


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_a_hundred_thousand_random_steps_agree_with_the_model(request, store, clock):
    """Fewer of them where the statements are the same ones as before, only in another dialect."""
    await walk(store, clock, steps=5_000 if "postgresql" in request.node.name else 100_000, seed=2)


async def test_two_workers_on_one_database_are_one_store(
    database: AsyncEngine, database_settings: Settings, clock: ManualClock
):
    other = open_main(database_settings)
    stores = [SqlIdempotencyStore(database, clock), SqlIdempotencyStore(other, clock)]

    for round_ in range(5):
        attempts = [attempt_of(f"k{round_}") for _ in range(10)]
        found = await asyncio.gather(*(stores[n % 2].begin(attempt) for n, attempt in enumerate(attempts)))
        assert found.count(None) == 1
    await other.dispose()


@pytest.mark.parametrize("fault", FAULTS)
async def test_sql_without_its_database_is_unavailable(tmp_path: Path, clock: ManualClock, fault: str):
    engine = open_main(broken(fault, tmp_path))
    store = SqlIdempotencyStore(engine, clock)
    attempt = attempt_of()

    for call in (
        store.begin(attempt),
        store.renew(attempt),
        store.finish(attempt, b""),
        store.release(attempt),
        store.sweep(rows_max=1),
    ):
        with pytest.raises(StoreUnavailable):
            await call
    await engine.dispose()


async def test_sql_that_is_out_of_reach_for_another_reason_is_unavailable_too(
    database: AsyncEngine, database_settings: Settings, clock: ManualClock
):
    """What the database itself refuses is not mistaken for a fault of the request."""
    await refuse_updates(database_settings, "idempotency_keys")
    store = SqlIdempotencyStore(database, clock)
    first = attempt_of()
    await store.begin(first)

    with pytest.raises(StoreUnavailable):
        await store.finish(first, b"sealed")


def test_postgresql_takes_the_key_in_one_statement():
    attempt = attempt_of()

    statement = taking("postgresql", attempt, now_us=NOW_US, over=attempt.id)

    text = " ".join(str(statement.compile(dialect=postgresql.dialect())).split())

    assert text.startswith("INSERT INTO idempotency_keys (caller_id, idempotency_key, ")
    assert "ON CONFLICT (caller_id, idempotency_key) DO UPDATE SET tenant_id = excluded.tenant_id, " in text
    assert "answer = excluded.answer WHERE idempotency_keys.expires_at <= " in text
    assert "OR idempotency_keys.answer IS NULL AND idempotency_keys.lease_until <= " in text
    assert text.endswith("RETURNING idempotency_keys.owner")
