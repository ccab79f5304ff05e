"""What other processes do to keys, seen within a quarter of a second, and how this one fares with its store."""

import logging
from collections import OrderedDict
from collections.abc import Sequence

from aiservice.core.clock import Clock
from aiservice.core.errors import StoreUnavailable
from aiservice.keys.admissions import OUTAGE_S_MAX, Admissions
from aiservice.keys.model import AuthEvent
from aiservice.keys.port import KeyStore
from aiservice.stores.polling import repeat

POLL_S = 0.25
REREAD_S = 10
TOUCH_EVERY_S = 60.0
REVOKED_MAX = 10_000

logger = logging.getLogger(__name__)


class Watch:
    """Follows `auth_events`, knows the keys that were revoked lately, and notes when keys were used."""

    def __init__(self, store: KeyStore, admissions: Admissions, clock: Clock) -> None:
        self._store = store
        self._admissions = admissions
        self._clock = clock
        self._seq: int | None = None
        self._seen: frozenset[int] = frozenset()
        self._revoked: OrderedDict[str, None] = OrderedDict()
        self._down_since_s: float | None = None
        self._touched_s = clock.monotonic_s()
        self.used: dict[str, float] = {}

    async def run(self) -> None:
        """Polls until it is cancelled, then writes last_used_at once more. A store that is away is asked again."""
        try:
            await repeat(self._round, every_s=POLL_S)
        finally:
            try:
                await self.flush()
            except StoreUnavailable:
                logger.warning("the last uses of %d keys could not be written", len(self.used))

    async def poll(self) -> None:
        """Forgets every key that something has happened to; raises `StoreUnavailable`.

        The last ten seconds are read again each time, for a database may commit a lower seq after a higher one.
        """
        if self._seq is None:
            self._seq = await self._store.last_event_seq()
        since_us = self._clock.now_us() - REREAD_S * 1_000_000
        events = await self._store.events_after(self._seq, since_us=since_us)
        self.store_answered()
        await self._take_in([event for event in events if event.seq not in self._seen])
        self._seen = frozenset(event.seq for event in events)
        self._seq = max([self._seq, *self._seen])

    async def flush(self) -> None:
        """Writes last_used_at of the keys used since the last time; raises `StoreUnavailable` and loses none."""
        self._touched_s = self._clock.monotonic_s()
        offset_us = self._clock.now_us() - round(self._touched_s * 1_000_000)
        used, self.used = self.used, {}
        rows = [(key_id, offset_us + round(used_s * 1_000_000)) for key_id, used_s in used.items()]
        try:
            await self._store.touch(rows)
        except StoreUnavailable:
            self.used = used | self.used
            raise

    def changed(self, kid: str) -> None:
        """Drops what is known of a key that this process itself has changed."""
        self._admissions.forget({kid})

    def gone(self, kid: str, key_id: str) -> None:
        """Notes that a key is good for nothing any more, so that its open streams end."""
        self.changed(kid)
        self._revoked[key_id] = None
        if len(self._revoked) > REVOKED_MAX:
            self._revoked.popitem(last=False)

    def is_revoked(self, key_id: str) -> bool:
        return key_id in self._revoked

    def store_failed(self) -> float:
        """Notes that the store is away; gives the monotonic second until which known keys are still let in."""
        if self._down_since_s is None:
            self._down_since_s = self._clock.monotonic_s()
            logger.warning("the key store is not available; known keys are let in for %d s", OUTAGE_S_MAX)
        return self._down_since_s + OUTAGE_S_MAX

    def store_answered(self) -> None:
        if self._down_since_s is not None:
            self._down_since_s = None
            logger.info("the key store is available again")

    async def _round(self) -> None:
        try:
            await self.poll()
            if self._clock.monotonic_s() >= self._touched_s + TOUCH_EVERY_S:
                await self.flush()
        except StoreUnavailable:
            self.store_failed()
        except Exception:  # a loop that ended would leave revoked keys admitted
            logger.exception("the watch over keys failed and goes on")

    async def _take_in(self, events: Sequence[AuthEvent]) -> None:
        kids = {event.kid for event in events}
        if not kids:
            return
        self._admissions.forget(kids)
        for kid in kids:
            key = await self._store.by_kid(kid)
            if key is not None and not key.is_good_at(self._clock.now_us()):
                self.gone(kid, key.id)
