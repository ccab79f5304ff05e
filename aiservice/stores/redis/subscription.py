"""What others publish: a connection of its own, which all channels share."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import hiredis

from aiservice.stores.redis.address import RedisAddress
from aiservice.stores.redis.background import Background
from aiservice.stores.redis.breaker import Breaker
from aiservice.stores.redis.connection import Connection
from aiservice.stores.redis.dial import CONNECT_S, DialFailed, dial
from aiservice.stores.redis.node import PING, QUIET_S, RETRY_S_MAX, RETRY_S_MIN, Place
from aiservice.stores.redis.wire import Answer, pack


@dataclass(frozen=True, slots=True, eq=False)
class Subscription:
    """One listener on one channel, until `close`."""

    channel: str
    heard: Callable[[str], None]
    lost: Callable[[], None]
    subscriber: "Subscriber"

    def close(self) -> None:
        """Nothing is heard any more."""
        self.subscriber.remove(self)


class Listening(Connection):
    """A connection on which messages come and nothing is awaited."""

    def __init__(self, *, breaker: Breaker, told: Callable[[bytes, str, str], None]) -> None:
        """`told` gets what each push is (message, subscribe), its channel and its text."""
        super().__init__(breaker=breaker, timeout_s=CONNECT_S)
        self._told = told

    def unasked(self, reply: Answer) -> None:
        match reply:
            case hiredis.ReplyError():
                self.fail(str(reply))
            case [bytes() as kind, bytes() as channel, bytes() | int() as told]:
                text = told.decode(errors="replace") if isinstance(told, bytes) else ""
                self._told(kind, channel.decode(errors="replace"), text)


class Subscriber:
    """Listens on channels and connects anew by itself.

    `lost` of a listener is called when it is first listening, and after each gap as soon as it listens again: what was
    published before may have been missed. Messages are at most once; a gap is found within three seconds.
    """

    def __init__(
        self,
        address: RedisAddress,
        locate: Callable[[], Awaitable[Place]],
        *,
        name: str,
        must_write: bool = True,
    ) -> None:
        self._address = address
        self._locate = locate
        self._name = f"{name}-events"
        self._must_write = must_write
        self._breaker = Breaker(self._name)
        self._listeners: dict[str, list[Subscription]] = {}
        self._confirmed: set[str] = set()
        self._connection: Listening | None = None
        self._is_started = False
        self._background = Background(self._keep)

    def start(self) -> None:
        """Connects, in the background, as soon as there is a listener."""
        self._is_started = True
        if self._listeners:
            self._background.start()

    async def aclose(self) -> None:
        self._is_started = False
        await self._background.aclose()

    def add(self, channel: str, heard: Callable[[str], None], lost: Callable[[], None]) -> Subscription:
        subscription = Subscription(channel, heard, lost, self)
        listeners = self._listeners.setdefault(channel, [])
        listeners.append(subscription)
        if channel in self._confirmed:
            asyncio.get_running_loop().call_soon(lost)
        elif len(listeners) == 1 and self._connection is not None:
            self._connection.say(pack(("SUBSCRIBE", channel)))
        if self._is_started:
            self.start()
        return subscription

    def remove(self, subscription: Subscription) -> None:
        """Does nothing for one that is closed already."""
        listeners = self._listeners.get(subscription.channel, [])
        if subscription in listeners:
            listeners.remove(subscription)
            if not listeners:
                del self._listeners[subscription.channel]
                self._confirmed.discard(subscription.channel)
                if self._connection is not None:
                    self._connection.say(pack(("UNSUBSCRIBE", subscription.channel)))

    def _told(self, kind: bytes, channel: str, text: str) -> None:
        # By the loop, so that a listener that raises is logged and hurts neither the others nor the connection.
        loop = asyncio.get_running_loop()
        for subscription in self._listeners.get(channel, []):
            if kind == b"message":
                loop.call_soon(subscription.heard, text)
            elif kind == b"subscribe":
                loop.call_soon(subscription.lost)
        if kind == b"subscribe" and channel in self._listeners:
            self._confirmed.add(channel)

    async def _keep(self) -> None:
        """One connection's life. The next is tried at once, unless this one was short."""
        started_s = time.monotonic()
        try:
            connection = Listening(breaker=self._breaker, told=self._told)
            place = await self._locate()
            await dial(connection, self._address, place, name=self._name, must_write=self._must_write)
            self._breaker.close()
            await self._listen(connection)
            self._breaker.open(connection.ended.result())
        except DialFailed as error:
            self._breaker.open(error.reason)
        if time.monotonic() - started_s < RETRY_S_MAX:
            await asyncio.sleep(random.uniform(RETRY_S_MIN, RETRY_S_MAX))  # noqa: S311 - spreads workers, no secret

    async def _listen(self, connection: Listening) -> None:
        """Returns when the connection has ended, or was silent although it was pinged."""
        self._connection = connection
        if self._listeners:
            connection.say(pack(("SUBSCRIBE", *self._listeners)))
        reads, is_pinged = -1, False
        try:
            while not connection.ended.done():
                await asyncio.wait((connection.ended,), timeout=QUIET_S)
                if connection.reads != reads:
                    reads, is_pinged = connection.reads, False
                elif is_pinged:
                    connection.fail("it is silent")
                else:
                    is_pinged = True
                    connection.say(PING)
        finally:
            connection.close()
            self._connection = None
            self._confirmed.clear()
