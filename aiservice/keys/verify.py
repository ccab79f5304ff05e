"""Who asks: from the text of a key to its caller. The hot path of the room."""

import asyncio
import hmac
from collections.abc import Collection
from contextlib import suppress
from hashlib import sha256
from typing import TypeVar

from aiservice.core.clock import Clock
from aiservice.core.errors import KeyRefused, NotAllowed, StoreUnavailable, TooManyFailures
from aiservice.core.settings import KeySettings
from aiservice.keys.admissions import Admission, Admissions, admission_of
from aiservice.keys.denied import DENIED_DIGESTS
from aiservice.keys.model import ADMIN_CALLER, ApiKey, Caller
from aiservice.keys.pepper import Peppers
from aiservice.keys.port import KeyStore
from aiservice.keys.secret import KEY_LENGTH_MAX, parse
from aiservice.keys.sources import FailureGuard, MinuteLimit, is_within, source_of
from aiservice.keys.watch import Watch
from aiservice.stores.bell import Bell

_Name = TypeVar("_Name")
_Result = TypeVar("_Result")

# The longest wait for the store: of a key that is not known, and of one that was good when it was last read.
ANSWER_S_MAX = 2.0
PATIENCE_S = 0.1


class Verifier:
    """Admits keys. One per process; `watch.run` must run beside it, or revocations are seen only as entries age.

    A key that was good is read again after 30 s. While the store does not answer that, it is let in as it is known,
    and no request waits for the store: one question at a time, or the watch's poll, finds out when it is back.
    """

    def __init__(
        self,
        store: KeyStore,
        settings: KeySettings,
        *,
        peppers: Peppers,
        clock: Clock,
        bell: Bell,
        denied: Collection[str] = DENIED_DIGESTS,
    ) -> None:
        self._store = store
        self._peppers = peppers
        self._clock = clock
        self._denied = frozenset(denied)
        self._admissions = Admissions()
        self._admin_digest = None if settings.admin_key is None else self._admissions.digest_of(settings.admin_key)
        self._guard = FailureGuard(settings.failures_per_minute, clock)
        self._checks = MinuteLimit(settings.verify_per_minute, clock)
        self._flights: dict[str, asyncio.Task[tuple[ApiKey | None, int]]] = {}
        self._renewals: dict[bytes, asyncio.Task[Admission]] = {}
        self._late: asyncio.Task[Admission] | None = None
        self.watch = Watch(store, self._admissions, clock=clock, bell=bell)

    def cached(self, text: str, *, ip: str) -> Caller | None:
        """The caller of a key that was admitted lately, without a wait; None sends the door to `verify`."""
        if len(text) > KEY_LENGTH_MAX:
            return None
        now_s = self._clock.monotonic_s()
        admission = self._admissions.fresh(self._admissions.digest_of(text), now_s)
        if admission is None or (admission.networks and not is_within(ip, admission.networks)):
            return None
        caller = admission.caller
        self.watch.used[caller.key_id] = now_s
        return caller

    async def verify(self, text: str, *, ip: str) -> Caller:
        """The caller of a good key that is used from `ip`.

        Raises `KeyRefused` (malformed, unknown, wrong, revoked and expired alike), `NotAllowed` for an address that
        is not on the key's list, `TooManyFailures` for a source that is held off, unless this process has admitted
        the key before, and `StoreUnavailable`, never `KeyRefused`, when the store cannot say.
        """
        source = source_of(ip)
        held_s = self._guard.held_s(source)
        if held_s and self._known(text) is None:
            raise _held(held_s)
        try:
            admission = await self._admission(text)
        except KeyRefused:
            self._guard.failed(source)
            raise
        if admission.networks and not is_within(ip, admission.networks):
            raise NotAllowed("This key may not be used from this address.", detail=f"kid {admission.kid}, address {ip}")
        self.watch.used[admission.caller.key_id] = self._clock.monotonic_s()
        return admission.caller

    async def verify_admin(self, text: str, *, ip: str) -> Caller:
        """The operator: who sends ADMIN_KEY, or a stored key with the scope admin. Raises as `verify` does."""
        caller = self.cached(text, ip=ip)
        if caller is None:
            if self._is_admin_key(text, source=source_of(ip)):
                return ADMIN_CALLER
            caller = await self.verify(text, ip=ip)
        if not caller.is_admin:
            raise NotAllowed("This needs an operator's key: ADMIN_KEY, or a key with the scope admin.")
        return caller

    async def check(self, text: str, *, ip: str) -> Caller | None:
        """The caller of a good key, whoever asks; None for any other. Uses nothing of the key's limits.

        Raises `TooManyFailures` beyond the limit of checks per minute and source, and `StoreUnavailable`.
        """
        wait_s = self._checks.take(source_of(ip))
        if wait_s:
            raise TooManyFailures(
                f"Too many keys were checked from this address; wait {wait_s} s.", retry_after_s=wait_s
            )
        try:
            return (await self._admission(text)).caller
        except KeyRefused:
            return None

    def is_revoked(self, caller: Caller) -> bool:
        """Whether the key was revoked, or retired for good, while its request is under way."""
        return self.watch.is_revoked(caller.key_id)

    def _is_admin_key(self, text: str, *, source: str) -> bool:
        if self._admin_digest is None:
            return False
        held_s = self._guard.held_s(source)
        if held_s and self._known(text) is None:
            raise _held(held_s)
        return hmac.compare_digest(self._admissions.digest_of(text), self._admin_digest)

    def _known(self, text: str) -> Admission | None:
        return self._admissions.known(self._admissions.digest_of(text))

    async def _admission(self, text: str) -> Admission:
        now_s = self._clock.monotonic_s()
        kid = parse(text)
        if kid is None:
            raise KeyRefused(detail="malformed")
        digest = self._admissions.digest_of(text)
        admission = self._admissions.fresh(digest, now_s)
        if admission is not None:
            return admission
        if self._admissions.is_bad(digest, now_s) or sha256(text.encode("ascii")).hexdigest() in self._denied:
            raise KeyRefused(detail=f"kid {kid}")
        known = self._admissions.known(digest)
        if known is not None and now_s < min(known.usable_until_s, self.watch.outage_ends_s):
            renewed = await self._renewed(text, digest, kid)
            if renewed is not None:
                return renewed
        return await self._asked(text, digest, kid)

    async def _renewed(self, text: str, digest: bytes, kid: str) -> Admission | None:
        """A known key, read again if that is quick; None where nothing is known of it any more."""
        is_slow = self._late is not None and not self._late.done()
        if not is_slow and not self.watch.is_store_away:
            renewal = self._renewal(text, digest, kid)
            try:
                async with asyncio.timeout(PATIENCE_S):
                    # That the store is away is noted already, and the key may go on without it.
                    with suppress(StoreUnavailable):
                        return await asyncio.shield(renewal)
            except TimeoutError:
                self._late = renewal
        now_s = self._clock.monotonic_s()
        return self._admissions.bridge(digest, now_s=now_s, until_s=self.watch.outage_ends_s)

    async def _asked(self, text: str, digest: bytes, kid: str) -> Admission:
        """The admission as the store has it; raises `KeyRefused`, and `StoreUnavailable` after 2 s at the latest."""
        asked_s = self._clock.monotonic_s()
        try:
            async with asyncio.timeout(ANSWER_S_MAX):
                key, version = await self._row(kid)
                if version != self._admissions.version:
                    # Something happened to a key while the row was under way: this one may be from before that.
                    key, version = await self._row(kid)
        except (StoreUnavailable, TimeoutError) as error:
            self.watch.store_failed(asked_s=asked_s)
            raise StoreUnavailable(detail="the key could not be read", retry_after_s=1) from error
        return self._judged(text, digest, key=key, kid=kid, version=version)

    def _judged(self, text: str, digest: bytes, *, key: ApiKey | None, kid: str, version: int) -> Admission:
        """What the row says; kept only if nothing happened to any key since the row was asked for."""
        now_s, now_us = self._clock.monotonic_s(), self._clock.now_us()
        is_current = version == self._admissions.version
        if not self._peppers.admits(text, key) or key is None or not key.is_good_at(now_us):
            if is_current:
                self._admissions.keep_bad(digest, kid, now_s)
            else:
                self._admissions.forget({kid})
            raise KeyRefused(detail=f"kid {kid}")
        admission = admission_of(key, digest, now_s=now_s, now_us=now_us)
        if is_current:
            self._admissions.keep(digest, admission)
        return admission

    def _renewal(self, text: str, digest: bytes, kid: str) -> asyncio.Task[Admission]:
        """The reading of a known key: one at a time, and to its end also when nobody waits for it any more."""
        renewal = self._renewals.get(digest)
        if renewal is None:
            renewal = self._renewals[digest] = asyncio.create_task(self._asked(text, digest, kid))
            renewal.add_done_callback(lambda done: _landed(self._renewals, digest, done))
        return renewal

    async def _row(self, kid: str) -> tuple[ApiKey | None, int]:
        """The row and the version of the table of admissions from before it was asked for; one question at a time."""
        flight = self._flights.get(kid)
        if flight is None:
            flight = asyncio.create_task(self._read(kid))
            self._flights[kid] = flight
            flight.add_done_callback(lambda done: _landed(self._flights, kid, done))
        # A client that leaves must not take the answer from those who wait with it.
        return await asyncio.shield(flight)

    async def _read(self, kid: str) -> tuple[ApiKey | None, int]:
        version = self._admissions.version
        key = await self._store.by_kid(kid)
        self.watch.store_answered()
        return key, version


def _landed(tasks: dict[_Name, asyncio.Task[_Result]], name: _Name, done: asyncio.Task[_Result]) -> None:
    del tasks[name]
    if not done.cancelled():
        # Marks a failure as seen also when everyone who waited for it has left.
        done.exception()


def _held(held_s: int) -> TooManyFailures:
    return TooManyFailures(
        f"Too many requests with a bad key came from this address; wait {held_s} s.", retry_after_s=held_s
    )
