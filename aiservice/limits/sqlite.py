"""The limiter that all workers of one machine share: a SQLite file, one short transaction for all takes of a turn."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from aiservice.core.clock import Clock
from aiservice.core.errors import StoreUnavailable
from aiservice.limits import bucket as arithmetic
from aiservice.limits.bucket import State
from aiservice.limits.model import (
    CLOSED_FOR_US,
    FULL_FOR_US,
    LEASE_US,
    PRUNE_EVERY,
    PRUNE_ROWS,
    Bucket,
    Cost,
    Decision,
    Slots,
    Standing,
    Take,
)
from aiservice.stores.hot import HotFile

FOLLOW_EVERY_US = 1_000_000

_VERSION = 1
_SCHEMA = """
create table buckets (
    key text primary key,
    level integer not null,
    stamp_us integer not null,
    token_units integer not null,
    full_us integer not null
) without rowid;
create table leases (
    slots_key text not null,
    request_id text not null,
    expires_us integer not null,
    primary key (slots_key, request_id)
) without rowid;
create table closed_takes (
    request_id text primary key,
    expires_us integer not null
) without rowid;
create index closed_takes_by_expiry on closed_takes (expires_us);
"""
_BEGIN = "begin immediate"
_COMMIT = "commit"
_FIND = "select level, stamp_us, token_units from buckets where key = ?"
_KEEP = (
    "insert into buckets (key, level, stamp_us, token_units, full_us) values (?, ?, ?, ?, ?) on conflict (key) do "
    "update set level = excluded.level, stamp_us = excluded.stamp_us, token_units = excluded.token_units, "
    "full_us = excluded.full_us"
)
_CLOSE = "insert into closed_takes (request_id, expires_us) values (?, ?) on conflict (request_id) do nothing"
_IS_CLOSED = "select 1 from closed_takes where request_id = ?"
_LEASE = (
    "insert into leases (slots_key, request_id, expires_us) values (?, ?, ?) on conflict (slots_key, request_id) do "
    "update set expires_us = excluded.expires_us"
)
_RELEASE = "delete from leases where slots_key = ? and request_id = ?"
_LAPSE = "delete from leases where slots_key = ? and expires_us <= ?"
_SHORTEN = "update leases set expires_us = ? where slots_key = ? and expires_us > ?"
_COUNT_LEASES = "select count(*) from leases where slots_key = ?"
_COUNT_LIVE_LEASES = "select count(*) from leases where slots_key = ? and expires_us > ?"
_PRUNE_END = "select key from buckets where key > ? order by key limit 1 offset ?"
_PRUNE_BUCKETS = "delete from buckets where key > ? and key <= ? and full_us < ?"
_PRUNE_LAST_BUCKETS = "delete from buckets where key > ? and full_us < ?"
_PRUNE_CLOSED = (
    "delete from closed_takes where request_id in "
    "(select request_id from closed_takes where expires_us < ? order by expires_us limit ?)"
)
_PRUNE_LEASES = "delete from leases where expires_us <= ?"


class SqliteLimiter:
    """Runs inline on the event loop: a transaction is some 15 us, a thread would cost more than it saves.

    `synchronous` is off: a crash of the machine may cost the file, and a file that cannot be read is made anew, so
    that each bucket is full once more. A file locked for longer than 50 ms is `StoreUnavailable`.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        self._clock = clock
        self._file = HotFile(path, schema=_SCHEMA, version=_VERSION, synchronous="OFF")
        self._followed_us = clock.now_us()
        self._calls = 0
        self._pruned_to = ""
        # Of the first take, and kept: asking for it is a system call.
        self._loop: asyncio.AbstractEventLoop | None = None
        self._turn: list[tuple[Take, asyncio.Future[Decision]]] = []

    async def take(self, take: Take) -> Decision:
        """Takes of one turn of the event loop share a transaction: its locks and its write cost more than they do."""
        if len(take.costs) + len(take.slots) > 1:
            arithmetic.ensure_distinct(take)
        loop = self._loop = self._loop or asyncio.get_running_loop()
        decided: asyncio.Future[Decision] = loop.create_future()
        self._turn.append((take, decided))
        if len(self._turn) == 1:
            loop.call_soon(self._end_turn)
        try:
            return await decided
        except asyncio.CancelledError:
            if _is_taken(decided):
                # In the same moment, and nobody is left to give it back. A file that is held keeps it, as after a kill.
                with suppress(StoreUnavailable):
                    await self.refund(take)
            raise

    async def refund(self, take: Take) -> None:
        self._tend()
        self._file.run(self._close, (take, [cost.amount for cost in take.costs]))

    async def settle(self, take: Take, amounts: Sequence[int]) -> None:
        given_back = arithmetic.given_back(take, amounts)
        if take.slots or any(given_back):
            self._tend()
            self._file.run(self._close, (take, given_back))

    async def renew(self, take: Take) -> None:
        if take.slots:
            self._file.run(self._renew, take)

    async def peek(self, buckets: Sequence[Bucket]) -> Sequence[Standing]:
        return self._file.run(self._peek, buckets)

    async def held(self, slots: Sequence[Slots]) -> Sequence[int]:
        return self._file.run(self._held, slots)

    async def aclose(self) -> None:
        self._file.close()

    def _end_turn(self) -> None:
        """Decides the takes of this turn in the order they came; who has been cancelled since takes nothing."""
        turn, self._turn = [(take, decided) for take, decided in self._turn if not decided.done()], []
        try:
            self._tend(len(turn))
            decisions = self._file.run(self._take_all, [take for take, _ in turn])
        except StoreUnavailable as error:
            for _, decided in turn:
                decided.set_exception(StoreUnavailable(detail=error.detail, retry_after_s=error.retry_after_s))
        else:
            for (_, decided), decision in zip(turn, decisions, strict=True):
                decided.set_result(decision)
        finally:
            # Only after a fault of our own is there anything left: nobody waits for ever.
            for _, decided in turn:
                decided.cancel()

    def _take_all(self, takes: Sequence[Take]) -> Sequence[Decision]:
        """One after another at one moment, each on what the one before left; buckets are read and written once."""
        execute = self._file.cursor.execute
        execute(_BEGIN)
        now_us = self._clock.now_us()
        buckets: dict[str, _Open] = {}
        decisions = [self._take(take, buckets, now_us) for take in takes]
        for opened in buckets.values():
            if opened.is_changed:
                self._keep(opened.bucket, opened.state, now_us)
        execute(_COMMIT)
        return decisions

    def _take(self, take: Take, buckets: dict[str, "_Open"], now_us: int) -> Decision:
        if len(take.costs) == 1 and not take.slots:
            return self._take_one(take.costs[0], buckets, now_us)
        opened = [self._opened(cost.bucket, buckets, now_us) for cost in take.costs]
        before = [one.state for one in opened]
        decision, after = arithmetic.taken(take.costs, before, now_us, busy=self._busy(take, now_us))
        if decision.is_allowed:
            for one, state in zip(opened, after, strict=True):
                one.state, one.is_changed = state, True
            self._lease(take, now_us)
        return decision

    def _take_one(self, cost: Cost, buckets: dict[str, "_Open"], now_us: int) -> Decision:
        opened = self._opened(cost.bucket, buckets, now_us)
        decision, opened.state = arithmetic.taken_alone(cost, opened.state, now_us)
        opened.is_changed = opened.is_changed or decision.is_allowed
        return decision

    def _opened(self, bucket: Bucket, buckets: dict[str, "_Open"], now_us: int) -> "_Open":
        """The bucket as this turn has left it so far, or as it is stored."""
        opened = buckets.get(bucket.key)
        if opened is not None:
            if opened.bucket is bucket or opened.bucket == bucket:
                return opened
            # Its limit was changed between two takes, and its level is counted in other units now.
            if opened.is_changed:
                self._keep(opened.bucket, opened.state, now_us)
        row = self._file.cursor.execute(_FIND, (bucket.key,)).fetchone()
        state = _state(bucket, row, now_us)
        opened = buckets[bucket.key] = _Open(bucket, state, _was_pulled_back(row, state))
        return opened

    def _close(self, closing: tuple[Take, Sequence[int]]) -> None:
        take, given_back = closing
        execute = self._file.cursor.execute
        execute(_BEGIN)
        now_us = self._clock.now_us()
        if execute(_CLOSE, (take.request_id, now_us + CLOSED_FOR_US)).rowcount:
            for cost, amount in zip(take.costs, given_back, strict=True):
                row = execute(_FIND, (cost.bucket.key,)).fetchone()
                level, stamp_us = _state(cost.bucket, row, now_us)
                self._keep(cost.bucket, State(arithmetic.changed(cost.bucket, level, amount), stamp_us), now_us)
        for slots in take.slots:
            execute(_RELEASE, (slots.key, take.request_id))
        execute(_COMMIT)

    def _renew(self, take: Take) -> None:
        execute = self._file.cursor.execute
        execute(_BEGIN)
        if execute(_IS_CLOSED, (take.request_id,)).fetchone() is None:
            self._lease(take, self._clock.now_us())
        execute(_COMMIT)

    def _peek(self, buckets: Sequence[Bucket]) -> Sequence[Standing]:
        execute = self._file.cursor.execute
        now_us = self._clock.now_us()
        return [
            arithmetic.standing(bucket, _state(bucket, execute(_FIND, (bucket.key,)).fetchone(), now_us), now_us)
            for bucket in buckets
        ]

    def _held(self, slots: Sequence[Slots]) -> Sequence[int]:
        execute = self._file.cursor.execute
        now_us = self._clock.now_us()
        return [execute(_COUNT_LIVE_LEASES, (one.key, now_us)).fetchone()[0] for one in slots]

    def _keep(self, bucket: Bucket, state: State, now_us: int) -> None:
        full_us = arithmetic.full_at_us(bucket, state, now_us)
        self._file.cursor.execute(_KEEP, (bucket.key, state.level, state.stamp_us, bucket.token_units, full_us))

    def _busy(self, take: Take, now_us: int) -> Slots | None:
        execute = self._file.cursor.execute
        for slots in take.slots:
            execute(_LAPSE, (slots.key, now_us))
            # A lease that ends later than a lease lasts was stamped before the clock went back.
            execute(_SHORTEN, (now_us + LEASE_US, slots.key, now_us + LEASE_US))
            (count,) = execute(_COUNT_LEASES, (slots.key,)).fetchone()
            if count >= slots.limit:
                return slots
        return None

    def _lease(self, take: Take, now_us: int) -> None:
        for slots in take.slots:
            self._file.cursor.execute(_LEASE, (slots.key, take.request_id, now_us + LEASE_US))

    def _tend(self, calls: int = 1) -> None:
        """Before takes or a closing: now and then looks after the file."""
        now_us = self._clock.now_us()
        if not 0 <= now_us - self._followed_us < FOLLOW_EVERY_US:
            self._followed_us = now_us
            self._file.follow()
        self._calls += calls
        if self._calls >= PRUNE_EVERY:
            self._calls = 0
            self._file.run(self._prune, now_us)

    def _prune(self, now_us: int) -> None:
        execute = self._file.cursor.execute
        execute(_BEGIN)
        end = execute(_PRUNE_END, (self._pruned_to, PRUNE_ROWS - 1)).fetchone()
        if end is None:
            execute(_PRUNE_LAST_BUCKETS, (self._pruned_to, now_us - FULL_FOR_US))
        else:
            execute(_PRUNE_BUCKETS, (self._pruned_to, end[0], now_us - FULL_FOR_US))
        execute(_PRUNE_CLOSED, (now_us, PRUNE_ROWS))
        execute(_PRUNE_LEASES, (now_us,))
        execute(_COMMIT)
        self._pruned_to = "" if end is None else end[0]


@dataclass(slots=True)
class _Open:
    """A bucket as the takes of this turn have left it so far."""

    bucket: Bucket
    state: State
    is_changed: bool


def _is_taken(decided: asyncio.Future[Decision]) -> bool:
    return decided.done() and not decided.cancelled() and decided.exception() is None and decided.result().is_allowed


def _state(bucket: Bucket, row: tuple[int, int, int] | None, now_us: int) -> State:
    if row is None:
        return arithmetic.full(bucket, now_us)
    level, stamp_us, token_units = row
    return arithmetic.refilled(bucket, arithmetic.restated(bucket, level, token_units), stamp_us, now_us=now_us)


def _was_pulled_back(row: tuple[int, int, int] | None, state: State) -> bool:
    """Whether the stored stamp was further ahead than it may stay, which must be kept also when nothing was taken."""
    return row is not None and state.stamp_us < row[1]
