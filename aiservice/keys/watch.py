"""What other processes do to keys, seen within a quarter of a second, and how this one fares with its store."""

import asyncio
import logging
import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence

from aiservice.core.clock import Clock
from aiservice.core.errors import StoreUnavailable
from aiservice.keys.admissions import OUTAGE_S_MAX, Admissions
from aiservice.keys.model import AuthEvent
from aiservice.keys.port import KeyStore
from aiservice.stores.bell import KEYS_CHANNEL, Bell
from aiservice.stores.polling import repeat

POLL_S = 0.25
REREAD_S = 30
TOUCH_EVERY_S = 60.0
REVOKED_MAX = 10_000

logger = logging.getLogger(__name__)


class Watch:
    """Follows `auth_events`, knows the keys that were revoked lately, and notes when keys were used.

    The poll each 250 ms is the promise; a ring of the bell only brings the next one forward.
    """

    def __init__(self, store: KeyStore, admissions: Admissions, *, clock: Clock, bell: Bell) -> None:
        self._store = store
        self._admissions = admissions
        self._clock = clock
        self._bell = bell
        self._heard = asyncio.Event()
        self._seq: int | None = None
        self._seen: frozenset[int] = frozenset()
        self._revoked: OrderedDict[str, None] = OrderedDict()
        self._down_since_s: float | None = None
        self._touched_s = clock.monotonic_s()
        self.used: dict[str, float] = {}

    async def run(self, poll_s: float = POLL_S) -> None:
        """Polls until it is cancelled, then writes last_used_at once more. A store that is away is asked again."""
        self._bell.listen(KEYS_CHANNEL, self._heard.set)
        try:
            await repeat(self._round, every_s=poll_s, wake=self._heard)
        finally:
            try:
                await self.flush()
            except StoreUnavailable:
                logger.warning("the last uses of %d keys could not be written", len(self.used))

    async def poll(self) -> None:
        """Forgets every key that something has happened to; raises `StoreUnavailable`.

        The last half minute is read again each time, for a database may commit a lower seq after a higher one, and the
        clocks of instances may differ by 20 s.
        """
        if self._seq is None:
            self._seq = await self._store.last_event_seq()
        since_us = self._clock.now_us() - REREAD_S * 1_000_000
        events = await self._store.events_after(self._seq, since_us=since_us)
        self.store_answered()
        self._take_in([event for event in events if event.seq not in self._seen])
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

    def tell(self) -> None:
        """Has all processes look at once what this one has stored."""
        self._bell.ring(KEYS_CHANNEL)

    def changed(self, kid: str) -> None:
        """Drops what is known of a key that this process itself has changed."""
        self._admissions.forget({kid})

    def gone(self, key_ids: Mapping[str, str]) -> None:
        """Notes keys, by their kids, that are good for nothing any more: they are refused, and their streams end."""
        self._admissions.end(key_ids, self._clock.monotonic_s())
        self._revoked.update(dict.fromkeys(key_ids.values()))
        while len(self._revoked) > REVOKED_MAX:
            self._revoked.popitem(last=False)

    def is_revoked(self, key_id: str) -> bool:
        return key_id in self._revoked

    @property
    def is_store_away(self) -> bool:
        """Whether the store's last answer was none; the poll finds out when it is back."""
        return self._down_since_s is not None

    @property
    def outage_ends_s(self) -> float:
        """The monotonic second until which known keys are let in without their store; infinite while it answers."""
        return math.inf if self._down_since_s is None else self._down_since_s + OUTAGE_S_MAX

    @property
    def may_admit(self) -> bool:
        """Whether any key can be let in now: the store answers, or some are known and the outage is young enough."""
        has_known = self._admissions.sizes()[0] > 0
        return not self.is_store_away or (has_known and self._clock.monotonic_s() < self.outage_ends_s)

    def store_failed(self, *, asked_s: float) -> None:
        """Notes that the store is away: a question of this monotonic second had no answer."""
        if self._down_since_s is None:
            self._down_since_s = asked_s
            logger.warning("the key store is not available; known keys are let in for %d s", OUTAGE_S_MAX)

    def store_answered(self) -> None:
        if self._down_since_s is not None:
            self._down_since_s = None
            logger.info("the key store is available again")

    async def _round(self) -> None:
        asked_s = self._clock.monotonic_s()
        try:
            await self.poll()
            if self._clock.monotonic_s() >= self._touched_s + TOUCH_EVERY_S:
                await self.flush()
        except StoreUnavailable:
            self.store_failed(asked_s=asked_s)
        except Exception:  # a loop that ended would leave revoked keys admitted
            logger.exception("the watch over keys failed and goes on")

    def _take_in(self, events: Sequence[AuthEvent]) -> None:
        if not events:
            return
        now_us = self._clock.now_us()
        gone = {event.kid: event.key_id for event in events if event.key_id is not None and event.ends_at_us <= now_us}
        self.gone(gone)
        self._admissions.forget({event.kid for event in events} - gone.keys())
