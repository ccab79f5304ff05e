"""The cache that all workers of one machine share: a SQLite file, read and written inline."""

import asyncio
import hmac
import logging
import random
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from aiservice.cache import payload as payloads
from aiservice.cache.model import CacheKey, CacheStats, Entry
from aiservice.cache.tally import Tally
from aiservice.core.clock import Clock
from aiservice.core.errors import StoreUnavailable
from aiservice.core.settings import CacheSettings
from aiservice.core.types import Completion
from aiservice.stores.hot import HotFile

TEND_AFTER_S = 1.0
TEND_AGAIN_S = 0.05
TALLY_MAX = 100
SWEEP_ROWS = 512
EVICT_ROWS = 64

_VERSION = 1
# The payload stands last, so that a scan of the small columns does not read it. Every clearing has an epoch; an entry
# is dead when a clearing of its scope has a higher epoch than its own, and is swept away later. The first epoch is
# random: a file that was made anew must not look like the one before. Bytes and entries count what was not yet swept.
_SCHEMA = """
create table ai_cache (
    cache_key text primary key,
    tenant_id text not null,
    model_used text not null,
    created_at integer not null,
    expires_at integer not null,
    hit_count integer not null default 0,
    last_used_at integer not null,
    epoch integer not null,
    bytes integer not null,
    mac blob not null,
    response_data blob not null
);
create index ai_cache_by_scope on ai_cache (tenant_id, model_used, epoch, expires_at, bytes);
create index ai_cache_by_expiry on ai_cache (expires_at);
create index ai_cache_by_use on ai_cache (last_used_at);
create table ai_cache_clearings (
    is_any_tenant integer not null,
    tenant_id text not null,
    is_any_model integer not null,
    model_used text not null,
    epoch integer not null,
    primary key (is_any_tenant, tenant_id, is_any_model, model_used)
) without rowid;
create table ai_cache_state (
    id integer primary key check (id = 1),
    epoch integer not null,
    bytes integer not null,
    hits integer not null,
    misses integer not null
);
insert into ai_cache_state (id, epoch, bytes, hits, misses) select 1, abs(random() / 4096), 0, 0, 0;
create trigger ai_cache_added after insert on ai_cache begin
    update ai_cache_state set bytes = bytes + new.bytes;
end;
create trigger ai_cache_removed after delete on ai_cache begin
    update ai_cache_state set bytes = bytes - old.bytes;
end;
"""
_BEGIN = "begin immediate"
_COMMIT = "commit"
_GET = (
    "select entry.response_data, entry.mac, entry.created_at, entry.expires_at, entry.hit_count, entry.epoch, "
    "state.epoch from ai_cache as entry, ai_cache_state as state where entry.cache_key = ? and state.id = 1"
)
_STATE = "select epoch, bytes from ai_cache_state"
_PUT = (
    "insert into ai_cache (cache_key, tenant_id, model_used, created_at, expires_at, last_used_at, epoch, bytes, mac, "
    "response_data) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_DROP = "delete from ai_cache where cache_key = ?"
_LEAST_USED = "select cache_key, bytes from ai_cache order by last_used_at limit ?"
_EXPIRE = "delete from ai_cache where rowid in (select rowid from ai_cache where expires_at <= ? limit ?)"
_CLEARINGS = "select is_any_tenant, tenant_id, is_any_model, model_used, epoch from ai_cache_clearings"
_FIRST_CLEARING = "select is_any_tenant, tenant_id, is_any_model, model_used, epoch from ai_cache_clearings limit 1"
_NEXT_EPOCH = "update ai_cache_state set epoch = epoch + 1"
_CLEAR = (
    "insert or replace into ai_cache_clearings (is_any_tenant, tenant_id, is_any_model, model_used, epoch) "
    "select ?, ?, ?, ?, epoch from ai_cache_state"
)
_FORGET_CLEARINGS = "delete from ai_cache_clearings"
_FORGET_CLEARING = (
    "delete from ai_cache_clearings "
    "where is_any_tenant = ? and tenant_id = ? and is_any_model = ? and model_used = ? and epoch = ?"
)
_SWEEP = (
    "delete from ai_cache where rowid in (select rowid from ai_cache as entry "
    "where (? or entry.tenant_id = ?) and (? or entry.model_used = ?) and entry.epoch < ? limit ?)"
)
_LIVE = (
    "select count(*), coalesce(sum(entry.bytes), 0) from ai_cache as entry "
    "where (? or entry.tenant_id = ?) and (? or entry.model_used = ?) and entry.expires_at > ? and not exists ("
    "select 1 from ai_cache_clearings as clearing where clearing.epoch > entry.epoch "
    "and (clearing.is_any_tenant or clearing.tenant_id = entry.tenant_id) "
    "and (clearing.is_any_model or clearing.model_used = entry.model_used))"
)
_COUNT_HIT = "update ai_cache set hit_count = hit_count + ?, last_used_at = max(last_used_at, ?) where cache_key = ?"
_TOUCH = "update ai_cache set last_used_at = max(last_used_at, ?) where cache_key = ?"
_COUNT = "update ai_cache_state set hits = hits + ?, misses = misses + ?"
_COUNTED = "select hits, misses from ai_cache_state"

A = TypeVar("A")
T = TypeVar("T")
Scope = tuple[bool, str, bool, str]
logger = logging.getLogger(__name__)


class SqliteCache:
    """Entries in `ai_cache`, each with an HMAC over its key, times and payload: a changed one is a miss.

    Hits are counted in memory and written each second or hundred hits. A file that cannot be read is made anew.
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
        """`secret` keys the HMAC and is the same for all workers; the longest delay of counts is `tend_after_s`."""
        self.failures = 0
        self._settings = settings
        self._clock = clock
        self._secret = secret
        self._random = source or random.SystemRandom()
        self._file = HotFile(path, schema=_SCHEMA, version=_VERSION, synchronous="OFF")
        self._epoch: int | None = None
        self._clearings: dict[tuple[str | None, str | None], int] = {}
        self._tally = Tally()
        self._tend_after_s = tend_after_s
        self._timer: asyncio.TimerHandle | None = None

    async def get(self, key: CacheKey, *, max_age_s: int | None = None) -> Entry | None:
        entry = self._tried(self._get, (key, max_age_s))
        if entry is None:
            self._tally.misses += 1
        if len(self._tally) % TALLY_MAX == 0:
            self._tried(self._flush, None)
        self._tend_later()
        return entry

    async def put(self, key: CacheKey, completion: Completion) -> None:
        payload = payloads.written(completion)
        if not payloads.is_too_large(payload, self._settings):
            self._tried(self._put, (key, payload))
            self._tend_later()

    async def clear(self, *, tenant_id: str | None = None, model: str | None = None) -> int:
        cleared = self._file.run(self._clear, (tenant_id is None, tenant_id or "", model is None, model or ""))
        self._tend_later(is_soon=True)
        return cleared

    async def stats(self) -> CacheStats:
        self._file.run(self._flush, None)
        return self._file.run(self._stats, self._clock.now_us())

    async def aclose(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._tried(self._flush, None)
        self._file.close()

    def _tried(self, work: Callable[[A], T], argument: A) -> T | None:
        """The work's result; None and a counted warning where the store cannot be used."""
        try:
            return self._file.run(work, argument)
        except StoreUnavailable as error:
            self.failures += 1
            logger.warning("the cache cannot be used: %s", error.detail)
            return None

    def _get(self, wanted: tuple[CacheKey, int | None]) -> Entry | None:
        key, max_age_s = wanted
        row = self._file.cursor.execute(_GET, (key.digest,)).fetchone()
        if row is None:
            return None
        payload, mac, created_us, expires_us, hit_count, epoch, epoch_now = row
        if epoch_now != self._epoch:
            self._read_clearings(epoch_now)
        now_us = self._clock.now_us()
        if expires_us <= now_us or (self._clearings and self._is_cleared(key, epoch)):
            return None
        if max_age_s is not None and now_us - created_us > max_age_s * 1_000_000:
            return None
        is_genuine = hmac.compare_digest(mac, self._mac(key, created_us, expires_us, payload=payload))
        completion = payloads.read(payload) if is_genuine else None
        if completion is None:
            logger.warning("a cache entry was changed or is of another version, and is dropped: %s", key.digest)
            self._file.cursor.execute(_DROP, (key.digest,))
            return None
        return Entry(completion, created_us, expires_us, hit_count + self._tally.hit(key.digest, now_us))

    def _put(self, kept: tuple[CacheKey, bytes]) -> None:
        key, payload = kept
        execute = self._file.cursor.execute
        size = payloads.size_bytes(payload)
        now_us = self._clock.now_us()
        expires_us = now_us + payloads.lifetime_us(self._settings, self._random)
        mac = self._mac(key, now_us, expires_us, payload=payload)
        execute(_BEGIN)
        execute(_DROP, (key.digest,))
        epoch, total = execute(_STATE).fetchone()
        if total + size > self._settings.bytes_max:
            self._make_room(size, now_us)
        row = (key.digest, key.tenant_id, key.model, now_us, expires_us, now_us, epoch, size, mac, payload)
        execute(_PUT, row)
        execute(_COMMIT)
        self._tally.forget(key.digest)

    def _make_room(self, size: int, now_us: int) -> None:
        """Inside a transaction: drops what has expired, then what has been used least recently, until `size` fits."""
        execute = self._file.cursor.execute
        execute(_EXPIRE, (now_us, SWEEP_ROWS))
        for digest, hit in self._tally.hits.items():
            execute(_TOUCH, (hit.last_used_us, digest))
        _, total = execute(_STATE).fetchone()
        missing = total + size - self._settings.bytes_max
        while missing > 0 and (rows := execute(_LEAST_USED, (EVICT_ROWS,)).fetchall()):
            for digest, freed in rows:
                execute(_DROP, (digest,))
                missing -= freed
                if missing <= 0:
                    break

    def _clear(self, scope: Scope) -> int:
        execute = self._file.cursor.execute
        execute(_BEGIN)
        count, _ = execute(_LIVE, (*scope, self._clock.now_us())).fetchone()
        execute(_NEXT_EPOCH)
        if scope[0] and scope[2]:
            execute(_FORGET_CLEARINGS)
        execute(_CLEAR, scope)
        execute(_COMMIT)
        return int(count)

    def _stats(self, now_us: int) -> CacheStats:
        execute = self._file.cursor.execute
        entries, size = execute(_LIVE, (True, "", True, "", now_us)).fetchone()
        hits, misses = execute(_COUNTED).fetchone()
        return CacheStats(entries, size, hits, misses)

    def _mac(self, key: CacheKey, created_us: int, expires_us: int, *, payload: bytes) -> bytes:
        head = b"%s %d %d " % (key.digest.encode(), created_us, expires_us)
        return hmac.digest(self._secret, head + payload, "sha256")

    def _read_clearings(self, epoch_now: int) -> None:
        rows = self._file.cursor.execute(_CLEARINGS).fetchall()
        self._clearings = {
            (None if is_any_tenant else tenant_id, None if is_any_model else model): epoch
            for is_any_tenant, tenant_id, is_any_model, model, epoch in rows
        }
        self._epoch = epoch_now

    def _is_cleared(self, key: CacheKey, epoch: int) -> bool:
        scopes = ((None, None), (key.tenant_id, None), (None, key.model), (key.tenant_id, key.model))
        return any(self._clearings.get(scope, epoch) > epoch for scope in scopes)

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
        has_more = self._tried(self._sweep, self._clock.now_us())
        self._tried(self._flush, None)
        if has_more or self._tally:
            self._tend_later(is_soon=bool(has_more))

    def _sweep(self, now_us: int) -> bool:
        """Deletes some expired and cleared entries; says whether there may be more. Each step is short."""
        execute = self._file.cursor.execute
        execute(_BEGIN)
        has_more = execute(_EXPIRE, (now_us, SWEEP_ROWS)).rowcount == SWEEP_ROWS
        clearing = execute(_FIRST_CLEARING).fetchone()
        if clearing is not None:
            has_more = True
            if execute(_SWEEP, (*clearing, SWEEP_ROWS)).rowcount < SWEEP_ROWS:
                execute(_FORGET_CLEARING, clearing)
        execute(_COMMIT)
        return has_more

    def _flush(self, _: None) -> None:
        tally = self._tally
        if not tally:
            return
        execute = self._file.cursor.execute
        execute(_BEGIN)
        for digest, hit in tally.hits.items():
            execute(_COUNT_HIT, (hit.count, hit.last_used_us, digest))
        execute(_COUNT, (tally.hits_total, tally.misses))
        execute(_COMMIT)
        self._tally = Tally()
