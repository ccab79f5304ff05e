"""Says to all processes that something has changed in the database, so that they ask it now and not at their next poll.

A ring is speed and no promise: it carries nothing, may be lost, and costs whoever hears it one question. What was
changed is read from the database, which each process asks by itself as well (`polling.repeat`).
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Protocol

from aiservice.core.errors import AIServiceError

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiservice.stores.redis.client import Redis
    from aiservice.stores.redis.subscription import Subscription

KEYS_CHANNEL = "ai:keys"
RULES_CHANNEL = "ai:rules"

logger = logging.getLogger(__name__)


class Bell(Protocol):
    """Best effort: nothing raises, nothing waits."""

    def ring(self, channel: str) -> None:
        """Tells all who listen, in this process too; must be called with a running loop."""
        ...

    def listen(self, channel: str, heard: Callable[[], None]) -> None:
        """Calls `heard` at every ring until `aclose`, and once after a gap in which rings may have been missed."""
        ...

    async def aclose(self) -> None:
        """Ends listening; waits for the rings that are under way."""
        ...


class SilentBell:
    """Where there is no Redis: nobody hears it, and the polls do all."""

    def ring(self, channel: str) -> None:
        return

    def listen(self, channel: str, heard: Callable[[], None]) -> None:
        return

    async def aclose(self) -> None:
        return


class RedisBell:
    """Over Redis' pub/sub. Of one process's rings on a channel one is under way and one waits; further ones are it."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._ringing: dict[str, asyncio.Task[None]] = {}
        self._again: set[str] = set()
        self._subscriptions: list[Subscription] = []
        self._is_mute = False

    def ring(self, channel: str) -> None:
        if channel in self._ringing:
            self._again.add(channel)
        else:
            self._ringing[channel] = asyncio.create_task(self._ring(channel))

    def listen(self, channel: str, heard: Callable[[], None]) -> None:
        self._subscriptions.append(self._redis.subscribe(channel, lambda _message: heard(), heard))

    async def aclose(self) -> None:
        for subscription in self._subscriptions:
            subscription.close()
        self._subscriptions.clear()
        await asyncio.gather(*self._ringing.values())

    async def _ring(self, channel: str) -> None:
        try:
            await self._publish(channel)
            while channel in self._again:
                self._again.remove(channel)
                await self._publish(channel)
        finally:
            del self._ringing[channel]

    async def _publish(self, channel: str) -> None:
        try:
            await self._redis.publish(channel, "")
        except AIServiceError as error:
            if not self._is_mute:
                logger.warning("changes cannot be told by Redis and are found by polls: %s", error)
            self._is_mute = True
        else:
            self._is_mute = False
