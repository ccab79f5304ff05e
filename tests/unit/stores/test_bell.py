"""Word of a change: over Redis, without it, and when Redis does not take it."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from aiservice.core.errors import StoreUnavailable, Unexpected
from aiservice.core.settings import load
from aiservice.stores.bell import KEYS_CHANNEL, RULES_CHANNEL, RedisBell, SilentBell
from aiservice.stores.redis.address import redis_addresses
from aiservice.stores.redis.client import Redis


@dataclass
class Listener:
    """What a double's subscription is."""

    channel: str
    heard: Callable[[str], None]
    lost: Callable[[], None]
    is_closed: bool = False

    def close(self) -> None:
        self.is_closed = True


@dataclass
class Publisher:
    """Redis as a bell sees it: counts what is published, waits at its gate, fails when told."""

    failure: Exception | None = None
    published: list[str] = field(default_factory=list)
    listeners: list[Listener] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    async def publish(self, channel: str, message: str) -> None:
        self.published.append(channel)
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        for listener in self.listeners:
            if listener.channel == channel and not listener.is_closed:
                listener.heard(message)

    def subscribe(self, channel: str, heard: Callable[[str], None], lost: Callable[[], None]) -> Listener:
        self.listeners.append(listener := Listener(channel, heard, lost))
        return listener


@pytest.fixture
def redis() -> Publisher:
    publisher = Publisher()
    publisher.gate.set()
    return publisher


@pytest.fixture
def bell(redis: Publisher) -> RedisBell:
    return RedisBell(redis)  # type: ignore[arg-type]


async def test_a_ring_is_heard_on_its_channel_only(bell: RedisBell) -> None:
    keys, rules = asyncio.Event(), asyncio.Event()
    bell.listen(KEYS_CHANNEL, keys.set)
    bell.listen(RULES_CHANNEL, rules.set)
    bell.ring(KEYS_CHANNEL)
    await asyncio.wait_for(keys.wait(), 1)
    assert not rules.is_set()


async def test_a_gap_counts_as_a_ring(bell: RedisBell, redis: Publisher) -> None:
    heard = asyncio.Event()
    bell.listen(KEYS_CHANNEL, heard.set)
    redis.listeners[0].lost()
    assert heard.is_set()


async def test_a_flood_of_rings_is_two(bell: RedisBell, redis: Publisher) -> None:
    redis.gate.clear()
    for _ in range(1_000):
        bell.ring(KEYS_CHANNEL)
    bell.ring(RULES_CHANNEL)
    await asyncio.sleep(0)
    redis.gate.set()
    await bell.aclose()
    assert sorted(redis.published) == [KEYS_CHANNEL, KEYS_CHANNEL, RULES_CHANNEL]


async def test_a_ring_after_the_last_one_rings_again(bell: RedisBell, redis: Publisher) -> None:
    for _ in range(3):
        bell.ring(KEYS_CHANNEL)
        await asyncio.sleep(0.001)
    assert redis.published == [KEYS_CHANNEL] * 3


@pytest.mark.parametrize("failure", [StoreUnavailable(), Unexpected(detail="NOPERM")])
async def test_a_redis_that_does_not_take_it_is_said_once(
    bell: RedisBell, redis: Publisher, failure: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    redis.failure = failure
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            bell.ring(KEYS_CHANNEL)
            await asyncio.sleep(0.001)
        redis.failure = None
        bell.ring(KEYS_CHANNEL)
        await asyncio.sleep(0.001)
        redis.failure = failure
        bell.ring(KEYS_CHANNEL)
        await bell.aclose()
    assert len(redis.published) == 5
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == [
        "changes cannot be told by Redis and are found by polls"
    ] * 2


async def test_its_end_waits_for_the_rings_and_nothing_is_heard_any_more(bell: RedisBell, redis: Publisher) -> None:
    redis.gate.clear()
    heard = asyncio.Event()
    bell.listen(KEYS_CHANNEL, heard.set)
    bell.ring(KEYS_CHANNEL)
    closing = asyncio.create_task(bell.aclose())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not closing.done()
    redis.gate.set()
    await closing
    assert redis.published == [KEYS_CHANNEL]
    assert not heard.is_set()


async def test_a_silent_bell_is_heard_by_nobody() -> None:
    bell, heard = SilentBell(), asyncio.Event()
    bell.listen(KEYS_CHANNEL, heard.set)
    bell.ring(KEYS_CHANNEL)
    await bell.aclose()
    assert not heard.is_set()


@pytest.mark.stores
async def test_processes_hear_each_other_over_a_real_redis(redis_url: str) -> None:
    addresses = redis_addresses(load({"ENVIRONMENT": "test", "REDIS_URL": redis_url}))
    assert addresses is not None
    clients = [Redis(addresses[0], timeout_s=1, name="limits") for _ in range(2)]
    for client in clients:
        await client.start()
    here, there = (RedisBell(client) for client in clients)
    heard = {name: asyncio.Event() for name in ("here", "there")}
    here.listen(KEYS_CHANNEL, heard["here"].set)
    there.listen(KEYS_CHANNEL, heard["there"].set)
    for event in heard.values():
        # That listening has begun counts as a ring.
        await asyncio.wait_for(event.wait(), 5)
    for ringing in (here, there):
        for event in heard.values():
            event.clear()
        ringing.ring(KEYS_CHANNEL)
        for event in heard.values():
            await asyncio.wait_for(event.wait(), 5)
    for bell, client in zip((here, there), clients, strict=True):
        await bell.aclose()
        await client.aclose()
