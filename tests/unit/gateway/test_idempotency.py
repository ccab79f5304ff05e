"""The policy of idempotency keys: who may run, what is kept and how, and what happens without the store."""

import asyncio
import logging
from contextlib import suppress
from dataclasses import replace

import pytest

from aiservice.core.clock import ManualClock
from aiservice.core.errors import IdempotencyBusy, IdempotencyMismatch, StoreUnavailable
from aiservice.core.ids import uuid7
from aiservice.gateway import Attempt, Found, Idempotency
from aiservice.gateway.idempotency import NONCE_BYTES, SWEEP_ROWS
from aiservice.gateway.memory import MemoryIdempotencyStore
from aiservice.gateway.port import LEASE_S, TTL_S
from aiservice.keys import ADMIN_CALLER, LOCAL_CALLER, Caller
from aiservice.observe.metrics import Metrics

NOW_US = 1_750_000_000_000_000
SECRET = b"s" * 32
ANN = replace(LOCAL_CALLER, key_id=uuid7(NOW_US), logical_id=uuid7(NOW_US), tenant_id="acme")
REQUEST = (b"POST", b"/ai/generate", b"", b"{}")


class WatchedStore(MemoryIdempotencyStore):
    """The twin in memory, which can be away, or hold a call until it is let go; counts its calls."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.is_away = False
        self.gate = asyncio.Event()
        self.gate.set()
        self.calls: list[str] = []

    async def begin(self, attempt: Attempt, *, over: str | None = None) -> Found | None:
        await self._enter("begin")
        return await super().begin(attempt, over=over)

    async def renew(self, attempt: Attempt) -> bool:
        await self._enter("renew")
        return await super().renew(attempt)

    async def finish(self, attempt: Attempt, answer: bytes) -> bool:
        await self._enter("finish")
        return await super().finish(attempt, answer)

    async def release(self, attempt: Attempt) -> None:
        await self._enter("release")
        await super().release(attempt)

    async def sweep(self, *, rows_max: int) -> int:
        await self._enter("sweep")
        return await super().sweep(rows_max=rows_max)

    async def _enter(self, call: str) -> None:
        self.calls.append(call)
        await self.gate.wait()
        if self.is_away:
            raise StoreUnavailable(detail="away")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW_US)


@pytest.fixture
def store(clock: ManualClock) -> WatchedStore:
    return WatchedStore(clock)


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def idempotency(store: WatchedStore, metrics: Metrics, clock: ManualClock) -> Idempotency:
    return Idempotency(store, secret=SECRET, metrics=metrics, clock=clock)


def count_of(metrics: Metrics, result: str) -> float:
    name = f'aiservice_idempotency_total{{result="{result}"}} '
    lines = metrics.render().decode().splitlines()
    return next((float(line.removeprefix(name)) for line in lines if line.startswith(name)), 0.0)


async def answered(idempotency: Idempotency, caller: Caller = ANN, answer: bytes = b"answer") -> Attempt:
    attempt = idempotency.attempt(caller, "k", REQUEST)
    assert await idempotency.begin(attempt) is None
    await idempotency.keep(attempt, answer)
    return attempt


async def test_the_first_runs_and_the_next_gets_its_answer(idempotency, metrics):
    await answered(idempotency)

    assert await idempotency.begin(idempotency.attempt(ANN, "k", REQUEST)) == b"answer"
    assert (count_of(metrics, "run"), count_of(metrics, "replayed")) == (1, 1)


async def test_a_running_attempt_makes_the_next_wait(idempotency, metrics):
    await idempotency.begin(idempotency.attempt(ANN, "k", REQUEST))

    with pytest.raises(IdempotencyBusy) as caught:
        await idempotency.begin(idempotency.attempt(ANN, "k", REQUEST))

    assert (caught.value.retry_after_s, caught.value.param) == (1, "Idempotency-Key")
    assert count_of(metrics, "busy") == 1


@pytest.mark.parametrize("is_answered", [True, False])
async def test_another_request_under_the_key_is_refused_running_or_answered(idempotency, metrics, is_answered):
    if is_answered:
        await answered(idempotency)
    else:
        await idempotency.begin(idempotency.attempt(ANN, "k", REQUEST))

    with pytest.raises(IdempotencyMismatch) as caught:
        await idempotency.begin(idempotency.attempt(ANN, "k", (*REQUEST[:-1], b"{ }")))

    assert caught.value.param == "Idempotency-Key"
    assert count_of(metrics, "mismatch") == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((b"ab", b"c"), (b"a", b"bc")),
        ((b"a", b""), (b"a",)),
        ((b"",), (None,)),
        ((b"-",), (None,)),
        ((b"1:a",), (b"a",)),
        ((b"a", None), (None, b"a")),
    ],
)
def test_requests_that_differ_at_a_boundary_have_other_hashes(idempotency, one, other):
    hashes = {idempotency.attempt(ANN, "k", request).request_hash for request in (one, other)}

    assert len(hashes) == 2


def test_equal_requests_have_one_hash_and_every_attempt_an_id_of_its_own(idempotency):
    first, second = (idempotency.attempt(ANN, "k", REQUEST) for _ in range(2))

    assert first.request_hash == second.request_hash
    assert first.id != second.id


def test_the_hash_of_a_guess_cannot_be_made_without_the_secret(idempotency, store, metrics, clock):
    other = Idempotency(store, secret=b"t" * 32, metrics=metrics, clock=clock)

    assert other.attempt(ANN, "k", REQUEST).request_hash != idempotency.attempt(ANN, "k", REQUEST).request_hash


def test_operator_development_and_keys_are_different_callers(idempotency):
    namesake = replace(ANN, tenant_id="platform")
    ids = [idempotency.attempt(caller, "k", REQUEST).caller_id for caller in (ADMIN_CALLER, LOCAL_CALLER, namesake)]

    assert ids == ["platform", "local", ANN.logical_id]


def test_a_rotated_key_is_the_same_caller(idempotency):
    rotated = replace(ANN, key_id=uuid7(NOW_US))

    assert idempotency.attempt(rotated, "k", REQUEST).caller_id == idempotency.attempt(ANN, "k", REQUEST).caller_id


async def test_a_kept_answer_cannot_be_read_in_the_store(idempotency, store):
    attempt = await answered(idempotency, answer=b"the secret of a new key" * 10)

    found = await store.begin(idempotency.attempt(ANN, "k", REQUEST))

    assert found is not None
    assert found.answer is not None
    assert b"secret" not in found.answer
    assert attempt.request_hash == found.request_hash
    assert len(found.answer) == NONCE_BYTES + 230 + 16


async def test_equal_answers_are_never_equal_in_the_store(idempotency, store):
    kept = []
    for key in ("a", "b"):
        attempt = idempotency.attempt(ANN, key, REQUEST)
        await idempotency.begin(attempt)
        await idempotency.keep(attempt, b"answer")
        found = await store.begin(replace(attempt, id=uuid7(NOW_US)))
        assert found is not None
        kept.append(found.answer)

    assert kept[0] != kept[1]


async def test_after_a_change_of_the_secret_the_request_runs_again(idempotency, store, metrics, clock, caplog):
    await answered(idempotency)
    changed = Idempotency(store, secret=b"t" * 32, metrics=metrics, clock=clock)

    await answered(changed, answer=b"new")

    assert await changed.begin(changed.attempt(ANN, "k", REQUEST)) == b"new"
    assert "cannot be opened" in caplog.text


@pytest.mark.parametrize("damage", ["bit", "cut", "empty", "other key", "other caller"])
async def test_an_answer_that_was_changed_or_moved_is_not_given(idempotency, store, damage):
    target = idempotency.attempt(ANN, "k", REQUEST)
    from_ = {
        "other key": idempotency.attempt(ANN, "j", REQUEST),
        "other caller": idempotency.attempt(ADMIN_CALLER, "k", REQUEST),
    }.get(damage, target)
    await idempotency.begin(from_)
    await idempotency.keep(from_, b"answer")
    found = await store.begin(replace(from_, id=uuid7(NOW_US)))
    assert found is not None
    assert found.answer is not None
    sealed = {"bit": found.answer[:-1] + bytes([found.answer[-1] ^ 1]), "cut": found.answer[:20], "empty": b""}
    moved = replace(target, id=uuid7(NOW_US))
    await store.begin(moved, over=target.id)
    await store.finish(moved, sealed.get(damage, found.answer))

    assert await idempotency.begin(idempotency.attempt(ANN, "k", REQUEST)) is None


async def test_without_its_store_nothing_may_run(idempotency, store, metrics):
    store.is_away = True

    with pytest.raises(StoreUnavailable):
        await idempotency.begin(idempotency.attempt(ANN, "k", REQUEST))

    assert count_of(metrics, "run") == 0


async def test_an_answer_that_cannot_be_kept_is_counted_and_logged(idempotency, store, metrics, clock, caplog):
    attempt = idempotency.attempt(ANN, "k", REQUEST)
    await idempotency.begin(attempt)
    store.is_away = True

    await idempotency.keep(attempt, b"answer")

    store.is_away = False
    assert count_of(metrics, "unkept") == 1
    assert attempt.id in caplog.text
    clock.advance_s(LEASE_S)
    assert await idempotency.begin(idempotency.attempt(ANN, "k", REQUEST)) is None


async def test_an_answer_that_comes_after_a_takeover_is_not_kept(idempotency, metrics, clock):
    slow, second = (idempotency.attempt(ANN, "k", REQUEST) for _ in range(2))
    await idempotency.begin(slow)
    clock.advance_s(LEASE_S)
    await idempotency.begin(second)

    await idempotency.keep(slow, b"slow")
    await idempotency.keep(second, b"second")

    assert await idempotency.begin(idempotency.attempt(ANN, "k", REQUEST)) == b"second"
    assert count_of(metrics, "unkept") == 1


async def test_a_released_key_runs_again(idempotency, metrics):
    attempt = idempotency.attempt(ANN, "k", REQUEST)
    await idempotency.begin(attempt)

    await idempotency.release(attempt)

    assert await idempotency.begin(idempotency.attempt(ANN, "k", REQUEST)) is None
    assert count_of(metrics, "run") == 2


async def test_a_key_that_cannot_be_released_lapses(idempotency, store, clock, caplog):
    attempt = idempotency.attempt(ANN, "k", REQUEST)
    await idempotency.begin(attempt)
    store.is_away = True

    await idempotency.release(attempt)

    store.is_away = False
    assert "until its lease lapses" in caplog.text
    with pytest.raises(IdempotencyBusy):
        await idempotency.begin(idempotency.attempt(ANN, "k", REQUEST))
    clock.advance_s(LEASE_S)
    assert await idempotency.begin(idempotency.attempt(ANN, "k", REQUEST)) is None


async def test_an_attempt_that_is_cancelled_while_it_begins_leaves_nothing(idempotency, store):
    store.gate.clear()
    beginning = asyncio.create_task(idempotency.begin(idempotency.attempt(ANN, "k", REQUEST)))
    await asyncio.sleep(0.01)
    beginning.cancel()
    await asyncio.sleep(0.01)
    assert not beginning.done()
    store.gate.set()

    with pytest.raises(asyncio.CancelledError):
        await beginning

    assert store.calls == ["begin", "release"]
    assert await idempotency.begin(idempotency.attempt(ANN, "k", REQUEST)) is None


async def test_an_answer_is_kept_also_when_its_keeper_is_cancelled(idempotency, store):
    attempt = idempotency.attempt(ANN, "k", REQUEST)
    await idempotency.begin(attempt)
    store.gate.clear()
    keeping = asyncio.create_task(idempotency.keep(attempt, b"answer"))
    await asyncio.sleep(0.01)
    keeping.cancel()
    await asyncio.sleep(0.01)
    store.gate.set()

    with pytest.raises(asyncio.CancelledError):
        await keeping

    assert await idempotency.begin(idempotency.attempt(ANN, "k", REQUEST)) == b"answer"


async def test_signs_of_life_are_given_while_it_runs(store, metrics, clock):
    idempotency = Idempotency(store, secret=SECRET, metrics=metrics, clock=clock, renew_every_s=0.01)
    attempt = idempotency.attempt(ANN, "k", REQUEST)
    await idempotency.begin(attempt)
    with idempotency.holding(attempt):
        for _ in range(3):
            clock.advance_s(LEASE_S - 1)
            await asyncio.sleep(0.03)

        with pytest.raises(IdempotencyBusy):
            await idempotency.begin(idempotency.attempt(ANN, "k", REQUEST))
    beats = store.calls.count("renew")
    await asyncio.sleep(0.03)

    assert beats >= 3
    assert store.calls.count("renew") == beats


async def test_what_has_expired_is_swept_beside(idempotency, store, clock, caplog):
    caplog.set_level(logging.WARNING)
    for number in range(SWEEP_ROWS + 3):
        await store.begin(idempotency.attempt(ANN, str(number), REQUEST))
    clock.advance_s(TTL_S)
    store.is_away = True
    tending = asyncio.create_task(idempotency.tend(0.01))
    await asyncio.sleep(0.03)
    assert "not swept now" in caplog.text

    store.is_away = False
    await asyncio.sleep(0.2)
    tending.cancel()
    with suppress(asyncio.CancelledError):
        await tending

    assert await store.sweep(rows_max=SWEEP_ROWS) == 0
    assert store.calls.count("sweep") >= 3
