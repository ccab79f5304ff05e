"""The cache that all workers of one machine share: a SQLite file, read and written inline."""

import asyncio
import logging
import random
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from aiservice.cache import payload as payloads
from aiservice.cache.lease import LOST_AFTER_US, Lease, claimed, is_awaited, last_call_us
from aiservice.cache.model import CacheKey, CacheStats, Claim, Entry, EntryFacts
from aiservice.cache.recent import RecentEntries
from aiservice.cache.seal import AesSeal, MacSeal, Seal, head_of
from aiservice.cache.stamps import ERA, Stamps, slot_of
from aiservice.cache.tally import Tally
from aiservice.core.clock import Clock
from aiservice.core.errors import StoreUnavailable
from aiservice.core.settings import CacheSettings
from aiservice.core.types import Completion
from aiservice.stores.hot import HotFile

TEND_AFTER_S = 1.0
TEND_AGAIN_S = 0.05
TALLY_MAX = 1_000
SWEEP_ROWS = 512
EVICT_ROWS = 64

_VERSION = 2
_SCHEMA = Path(__file__).with_name("sqlite.sql")
_BEGIN = "begin immediate"
_COMMIT = "commit"
# The casts are for a file that someone wrote to: what is read has the kind that it must have.
_GET = (
    "select cast(response_data as blob), cast(mac as blob), cast(created_at as integer), cast(expires_at as integer), "
    "cast(hit_count as integer), serial from ai_cache where cache_key = ? "
    "and serial > coalesce((select cleared_serial from ai_cache_scopes where tenant_id = ? and model_used = ?), 0)"
)
_NEXT_SERIAL = "update ai_cache_state set serial = serial + 1 returning serial, bytes"
_PUT = (
    "insert into ai_cache (serial, cache_key, tenant_id, model_used, created_at, expires_at, last_used_at, bytes, mac, "
    "response_data) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_DROP = "delete from ai_cache where cache_key = ?"
_EXPIRE = "delete from ai_cache where serial in (select serial from ai_cache where expires_at <= ? limit ?)"
_LEAST_USED = "select cache_key, bytes from ai_cache order by last_used_at limit ?"
_BYTES = "select bytes from ai_cache_state"
_LEASE = "select lease_id, expires_at, wanted_at from ai_cache_leases where cache_key = ?"
_AWAITED = (
    "select lease_id, expires_at, wanted_at from ai_cache_leases where cache_key = ?1 "
    "and not exists (select 1 from ai_cache where cache_key = ?1)"
)
_KEEP_LEASE = (
    "insert or replace into ai_cache_leases (cache_key, lease_id, tenant_id, model_used, expires_at, wanted_at) "
    "values (?, ?, ?, ?, ?, ?)"
)
_END_LEASE = "delete from ai_cache_leases where cache_key = ? and lease_id = ?"
_LAST_CALL = "update ai_cache_leases set wanted_at = min(wanted_at, ?) where cache_key = ?"
_LOSE_LEASES = "delete from ai_cache_leases where expires_at <= ?"
_CLEAR_LEASES = "delete from ai_cache_leases where (? or tenant_id = ?) and (? or model_used = ?)"
_COUNT_ALL = (
    "select coalesce(sum(entries), 0), coalesce(sum(bytes), 0) from ai_cache_scopes "
    "where (? or tenant_id = ?) and (? or model_used = ?)"
)
_COUNT_EXPIRED = (
    "select count(*), coalesce(sum(entry.bytes), 0) from ai_cache as entry join ai_cache_scopes as scope "
    "using (tenant_id, model_used) where entry.expires_at <= ? and entry.serial > scope.cleared_serial "
    "and (? or tenant_id = ?) and (? or model_used = ?)"
)
_CLEAR = (
    "update ai_cache_scopes set cleared_serial = ?, entries = 0, bytes = 0 "
    "where entries > 0 and (? or tenant_id = ?) and (? or model_used = ?)"
)
_DEAD = "select tenant_id, model_used, cleared_serial from ai_cache_scopes where row_count > entries limit 1"
_SWEEP = (
    "delete from ai_cache where serial in "
    "(select serial from ai_cache where tenant_id = ? and model_used = ? and serial <= ? limit ?)"
)
_FORGET_SCOPES = "delete from ai_cache_scopes where row_count = 0"
_COUNT_HITS = "update ai_cache set hit_count = hit_count + ?, last_used_at = max(last_used_at, ?) where serial = ?"
_TOUCH = "update ai_cache set last_used_at = max(last_used_at, ?) where serial = ?"
_SERIAL = "select serial from ai_cache where cache_key = ?"
_COUNT = "update ai_cache_state set hits = hits + ?, misses = misses + ?"
_COUNTED = "select hits, misses from ai_cache_state"
_MOST_HIT = (
    "select cache_key, tenant_id, model_used, entry.bytes, created_at, expires_at, hit_count from ai_cache as entry "
    "join ai_cache_scopes as scope using (tenant_id, model_used) "
    "where entry.serial > scope.cleared_serial and expires_at > ? order by hit_count desc limit ?"
)

A = TypeVar("A")
T = TypeVar("T")
Scope = tuple[bool, str, bool, str]
EVERYTHING: Scope = (True, "", True, "")
logger = logging.getLogger(__name__)


class SqliteCache:
    """Entries in `ai_cache`, each sealed together with its key and times: a changed one is a miss.

    What was read is remembered for as long as its stamps hold. Hits are counted in memory and written each second, or
    when a thousand entries have some. A file that cannot be read is made anew.
    """

    def __init__(
        self,
        path: Path,
        settings: CacheSettings,
        clock: Clock,
        *,
        secret: bytes,
        source: random.Random | None = None,
        tend_after_s: float = TEND_AFTER_S,
    ) -> None:
        """`secret` seals the entries and is the same for all workers; the longest delay of counts is `tend_after_s`."""
        self.failures = 0
        self._settings = settings
        self._clock = clock
        self._seal: Seal = AesSeal(secret) if settings.is_encrypted else MacSeal(secret)
        self._random = source or random.SystemRandom()
        self._tally = Tally()
        self._flush_at = TALLY_MAX
        self._stamps = Stamps(path.with_name(path.name + "-stamps"))
        self._recent = RecentEntries(self._stamps, payloads.recent_bytes_max(settings))
        self._era = 0
        self._file = HotFile(path, schema=_SCHEMA.read_text(), version=_VERSION, on_open=self._stamps.open)
        self._tend_after_s = tend_after_s
        self._timer: asyncio.TimerHandle | None = None

    @property
    def era(self) -> int:
        return self._stamps.era

    async def get(self, key: CacheKey, *, max_age_s: int | None = None) -> Entry | None:
        entry = self._remembered(key.digest, max_age_s) or self._tried(self._get, (key, max_age_s))
        if entry is None:
            self._tally.misses += 1
        elif len(self._tally.hits) >= self._flush_at:
            self._flush_at += TALLY_MAX
            self._tried(self._flush, None)
        if self._timer is None:
            self._tend_later()
        return entry

    async def put(self, key: CacheKey, completion: Completion, *, lease_id: str | None = None) -> None:
        payload = payloads.written(completion)
        if not payloads.is_too_large(payload, self._settings):
            self._tried(self._put, (key, payload, lease_id))
            self._tend_later()
        elif lease_id is not None:
            await self.release(key, lease_id)

    async def claim(self, key: CacheKey, lease_id: str, *, max_age_s: float | None = None) -> Claim:
        claim = self._tried(self._claim, (key, lease_id, max_age_s)) or Claim(True)
        if claim.entry is not None:
            self._tally.misses -= 1
            self._tend_later()
        return claim

    async def renew(self, key: CacheKey, lease_id: str) -> bool:
        return bool(self._tried(self._renew, (key, lease_id)))

    async def release(self, key: CacheKey, lease_id: str) -> None:
        self._tried(self._release, (key.digest, lease_id))

    async def joined(self, key: CacheKey, hits: int) -> None:
        serial = self._tried(self._serial, key.digest)
        self._tally.hit(serial, self._clock.now_us(), count=hits)
        self._recent.count(key.digest, serial, hits)
        self._tally.misses -= hits
        self._tend_later()

    async def clear(self, *, tenant_id: str | None = None, model: str | None = None) -> int:
        cleared = self._file.run(self._clear, (tenant_id is None, tenant_id or "", model is None, model or ""))
        self._tend_later(is_soon=True)
        return cleared

    async def stats(self) -> CacheStats:
        self._file.run(self._flush, None)
        return self._file.run(self._stats, self._clock.now_us())

    async def entries(self, limit: int) -> list[EntryFacts]:
        self._file.run(self._flush, None)
        return self._file.run(self._most_hit, limit)

    async def aclose(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._tried(self._flush, None)
        self._file.close()
        self._stamps.close()

    def _tried(self, work: Callable[[A], T], argument: A) -> T | None:
        """The work's result; None and a counted warning where the store cannot be used."""
        try:
            return self._file.run(work, argument)
        except StoreUnavailable as error:
            self.failures += 1
            logger.warning("the cache cannot be used: %s", error.detail)
            return None

    def _remembered(self, digest: str, max_age_s: int | None) -> Entry | None:
        """The entry without a look at the file, if it was read before and still holds."""
        now_us = self._clock.now_us()
        recent = self._recent.find(digest, max_age_s, now_us)
        if recent is None:
            return None
        self._tally.hit(recent.serial, now_us)
        return Entry(recent.completion, recent.created_at_us, recent.expires_at_us, recent.hit_count)

    def _get(self, wanted: tuple[CacheKey, float | None]) -> Entry | None:
        self._follow_era()
        return self._find(wanted)

    def _follow_era(self) -> None:
        """A new era begins with a clearing or a file made anew: forgets what no longer holds, goes to that file."""
        if self._stamps.era != self._era:
            self._era = self._stamps.era
            self._recent.clear()
            self._file.follow()

    def _find(self, wanted: tuple[CacheKey, float | None]) -> Entry | None:
        key, max_age_s = wanted
        mark = self._stamps.mark_of(key.digest)
        row = self._file.cursor.execute(_GET, (key.digest, key.tenant_id, key.model)).fetchone()
        if row is None:
            return None
        data, mac, created_us, expires_us, hit_count, serial = row
        now_us = self._clock.now_us()
        if expires_us <= now_us or (max_age_s is not None and now_us - created_us > max_age_s * 1_000_000):
            return None
        payload = self._seal.opened(head_of(key, created_us, expires_us), key.tenant_id, data, mark=mac)
        completion = None if payload is None else payloads.read(payload)
        if completion is None:
            logger.warning("a cache entry was changed or is of another version, and is dropped: %s", key.digest)
            with self._stamps.changing(slot_of(key.digest)):
                self._file.cursor.execute(_DROP, (key.digest,))
            return None
        entry = Entry(completion, created_us, expires_us, hit_count + self._tally.hit(serial, now_us))
        self._recent.add(key.digest, entry, serial, mark=mark, size=payloads.size_bytes(data))
        return entry

    def _put(self, kept: tuple[CacheKey, bytes, str | None]) -> None:
        key, payload, lease_id = kept
        execute = self._file.cursor.execute
        size = payloads.size_bytes(payload)
        now_us = self._clock.now_us()
        expires_us = now_us + payloads.lifetime_us(self._settings, self._random)
        mac, data = self._seal.closed(head_of(key, now_us, expires_us), key.tenant_id, payload)
        execute(_BEGIN)
        if lease_id is None or execute(_END_LEASE, (key.digest, lease_id)).rowcount == 1:
            execute(_DROP, (key.digest,))
            serial, total = execute(_NEXT_SERIAL).fetchone()
            if total + size > self._settings.bytes_max:
                self._make_room(size, now_us)
            row = (serial, key.digest, key.tenant_id, key.model, now_us, expires_us, now_us, size, mac, data)
            execute(_PUT, row)
            with self._stamps.changing(slot_of(key.digest)):
                execute(_COMMIT)
        else:
            execute(_COMMIT)

    def _make_room(self, size: int, now_us: int) -> None:
        """Inside a transaction: drops what is expired or cleared, then what was used least recently, until it fits."""
        execute = self._file.cursor.execute
        self._file.cursor.executemany(_TOUCH, [(hit.last_used_us, serial) for serial, hit in self._tally.hits.items()])
        has_more = True
        while (missing := execute(_BYTES).fetchone()[0] + size - self._settings.bytes_max) > 0 and has_more:
            has_more = self._drop_useless(now_us)
        while missing > 0 and (rows := execute(_LEAST_USED, (EVICT_ROWS,)).fetchall()):
            for digest, freed in rows:
                execute(_DROP, (digest,))
                missing -= freed
                if missing <= 0:
                    break

    def _drop_useless(self, now_us: int) -> bool:
        """Inside a transaction: some expired and cleared entries; says whether there may be more."""
        execute = self._file.cursor.execute
        has_more = execute(_EXPIRE, (now_us, SWEEP_ROWS)).rowcount == SWEEP_ROWS
        dead = execute(_DEAD).fetchone()
        if dead is not None:
            execute(_SWEEP, (*dead, SWEEP_ROWS))
        execute(_FORGET_SCOPES)
        return has_more or dead is not None

    def _claim(self, wanted: tuple[CacheKey, str, float | None]) -> Claim:
        """Who waits only reads; a transaction is begun to take the lease, or to say that it is waited for."""
        key, lease_id, max_age_s = wanted
        self._follow_era()
        row = self._file.cursor.execute(_AWAITED, (key.digest,)).fetchone()
        if row is not None and is_awaited(Lease(*row), lease_id, self._clock.now_us()):
            return Claim(False)
        if (entry := self._find((key, max_age_s))) is not None:
            return Claim(False, entry)
        execute = self._file.cursor.execute
        execute(_BEGIN)
        entry = self._find((key, max_age_s))
        is_leader = False
        if entry is None:
            now_us = self._clock.now_us()
            is_leader, lease = claimed(self._lease(key.digest), lease_id, now_us)
            self._keep_lease(key, lease)
            if is_leader:
                execute(_LOSE_LEASES, (now_us - LOST_AFTER_US,))
        execute(_COMMIT)
        return Claim(is_leader, entry)

    def _renew(self, held: tuple[CacheKey, str]) -> bool:
        key, lease_id = held
        is_wanted = False
        self._file.cursor.execute(_BEGIN)
        lease = self._lease(key.digest)
        if lease is not None and lease.id == lease_id:
            now_us = self._clock.now_us()
            is_wanted = lease.is_wanted(now_us)
            self._keep_lease(key, lease.renewed(now_us))
        self._file.cursor.execute(_COMMIT)
        return is_wanted

    def _release(self, held: tuple[str, str]) -> None:
        if self._file.cursor.execute(_END_LEASE, held).rowcount == 0:
            self._file.cursor.execute(_LAST_CALL, (last_call_us(self._clock.now_us()), held[0]))

    def _lease(self, digest: str) -> Lease | None:
        row = self._file.cursor.execute(_LEASE, (digest,)).fetchone()
        return None if row is None else Lease(*row)

    def _keep_lease(self, key: CacheKey, lease: Lease) -> None:
        row = (key.digest, lease.id, key.tenant_id, key.model, lease.expires_at_us, lease.wanted_at_us)
        self._file.cursor.execute(_KEEP_LEASE, row)

    def _serial(self, digest: str) -> int | None:
        row = self._file.cursor.execute(_SERIAL, (digest,)).fetchone()
        return None if row is None else int(row[0])

    def _clear(self, scope: Scope) -> int:
        """Touches a row for each pair of tenant and model, and the running leases; no entry."""
        execute = self._file.cursor.execute
        execute(_BEGIN)
        entries, _ = self._count_live(scope, self._clock.now_us())
        serial, _ = execute(_NEXT_SERIAL).fetchone()
        execute(_CLEAR, (serial, *scope))
        execute(_CLEAR_LEASES, scope)
        with self._stamps.changing(ERA):
            execute(_COMMIT)
        return entries

    def _count_live(self, scope: Scope, now_us: int) -> tuple[int, int]:
        execute = self._file.cursor.execute
        entries, size = execute(_COUNT_ALL, scope).fetchone()
        expired, expired_size = execute(_COUNT_EXPIRED, (now_us, *scope)).fetchone()
        return entries - expired, size - expired_size

    def _stats(self, now_us: int) -> CacheStats:
        execute = self._file.cursor.execute
        execute("begin")
        entries, size = self._count_live(EVERYTHING, now_us)
        hits, misses = execute(_COUNTED).fetchone()
        execute(_COMMIT)
        return CacheStats(entries, size, hits, misses)

    def _most_hit(self, limit: int) -> list[EntryFacts]:
        rows = self._file.cursor.execute(_MOST_HIT, (self._clock.now_us(), limit)).fetchall()
        return [EntryFacts(*row) for row in rows]

    def _tend_later(self, *, is_soon: bool = False) -> None:
        if self._timer is None:
            after_s = TEND_AGAIN_S if is_soon else self._tend_after_s
            self._timer = asyncio.get_running_loop().call_later(after_s, self._tend)

    def _tend(self) -> None:
        self._timer = None
        try:
            self._file.follow()
        except StoreUnavailable:
            self.failures += 1
        if self._stamps.is_torn:
            self._tried(self._within, self._stamps.mend)
        now_us = self._clock.now_us()
        has_more = self._tried(self._within, lambda: self._drop_useless(now_us))
        self._tried(self._flush, None)
        if has_more or self._tally.is_dirty:
            self._tend_later(is_soon=bool(has_more))

    def _within(self, work: Callable[[], T]) -> T:
        """Work that no other writer is beside."""
        self._file.cursor.execute(_BEGIN)
        result = work()
        self._file.cursor.execute(_COMMIT)
        return result

    def _flush(self, _: None) -> None:
        tally = self._tally
        if not tally.is_dirty:
            return
        cursor = self._file.cursor
        cursor.execute(_BEGIN)
        rows = [(hit.count, hit.last_used_us, serial) for serial, hit in tally.hits.items()]
        cursor.executemany(_COUNT_HITS, rows)
        cursor.execute(_COUNT, (tally.hits_total, tally.misses))
        cursor.execute(_COMMIT)
        self._tally = Tally()
        self._flush_at = TALLY_MAX
