"""Idempotency: a request that its caller may send again runs once, and is answered the same for a day.

An attempt that gets the caller's key runs, and shows by its lease that it does; the others hear that it is still
running, or get its answer. Answers lie in the store encrypted, for one of them is the only copy of a new key's secret.
"""

import asyncio
import hmac
import logging
import os
from collections.abc import Iterable

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from aiservice.core.clock import Clock
from aiservice.core.errors import IdempotencyBusy, IdempotencyMismatch, StoreUnavailable
from aiservice.core.ids import uuid7
from aiservice.gateway.heartbeat import Heartbeat
from aiservice.gateway.port import Attempt, Found, IdempotencyStore
from aiservice.keys import BUILT_IN_KEY_ID, Caller
from aiservice.observe.metrics import Metrics
from aiservice.stores.queries import whole

RENEW_EVERY_S = 10.0
RETRY_AFTER_S = 1
SWEEP_EVERY_S = 60.0
SWEEP_PAUSE_S = 0.05
SWEEP_ROWS = 200
NONCE_BYTES = 12

_log = logging.getLogger(__name__)


class Idempotency:
    """The policy over an `IdempotencyStore`. `secret` keys the hashes and the encryption; another one forgets all."""

    def __init__(
        self,
        store: IdempotencyStore,
        *,
        secret: bytes,
        metrics: Metrics,
        clock: Clock,
        renew_every_s: float = RENEW_EVERY_S,
    ) -> None:
        self._store = store
        self._renew_every_s = renew_every_s
        self._metrics = metrics
        self._clock = clock
        self._hash_key = hmac.digest(secret, b"requests", "sha256")
        self._cipher = AESGCM(hmac.digest(secret, b"answers", "sha256"))

    def attempt(self, caller: Caller, key: str, request: Iterable[bytes | None]) -> Attempt:
        """A try of the request, of which everything is given that can change its answer, always in the same order."""
        is_built_in = caller.logical_id == BUILT_IN_KEY_ID
        return Attempt(
            id=uuid7(self._clock.now_us()),
            caller_id=caller.tenant_id if is_built_in else caller.logical_id,
            tenant_id=caller.tenant_id,
            key=key,
            request_hash=hmac.digest(self._hash_key, b"".join(map(_framed, request)), "sha256"),
        )

    async def begin(self, attempt: Attempt) -> bytes | None:
        """None: the attempt shall run, and be ended by `keep` or `release`. Else the answer to give again.

        Raises `IdempotencyMismatch`, `IdempotencyBusy` or `StoreUnavailable`: then nothing may run.
        """
        try:
            answer = await self._begin(attempt)
        except asyncio.CancelledError:
            await self.release(attempt)
            raise
        self._metrics.idempotency("run" if answer is None else "replayed")
        return answer

    def holding(self, attempt: Attempt) -> Heartbeat:
        """Signs of life while the block runs."""
        return Heartbeat(lambda: whole(self._store.renew(attempt)), every_s=self._renew_every_s)

    async def keep(self, attempt: Attempt, answer: bytes) -> None:
        """Keeps the answer. Where that fails the answer is good all the same, and a later attempt runs again."""
        try:
            is_kept = await whole(self._store.finish(attempt, self._sealed(attempt, answer)))
        except StoreUnavailable as error:
            self._unkept(attempt, str(error))
            return
        if not is_kept:
            self._unkept(attempt, "another attempt has taken its key over")

    async def release(self, attempt: Attempt) -> None:
        """The attempt came to nothing worth keeping: the next one runs. Does nothing once the answer is kept."""
        try:
            await whole(self._store.release(attempt))
        except StoreUnavailable as error:
            _log.warning("an idempotency key stays taken until its lease lapses: %s", error)

    async def tend(self, every_s: float = SWEEP_EVERY_S) -> None:
        """Deletes what has expired, now and then and a few rows at a time, until it is cancelled."""
        while True:
            await asyncio.sleep(every_s)
            await self._sweep()

    async def _begin(self, attempt: Attempt) -> bytes | None:
        over: str | None = None
        while (found := await whole(self._store.begin(attempt, over=over))) is not None:
            answer = None if found.answer is None else self._opened(attempt, found, found.answer)
            if found.answer is None or answer is not None:
                return self._judged(attempt, found, answer)
            _log.warning("a kept answer cannot be opened, as after a change of the pepper; the request runs again")
            over = found.attempt_id
        return None

    def _judged(self, attempt: Attempt, found: Found, answer: bytes | None) -> bytes:
        if found.request_hash != attempt.request_hash:
            self._metrics.idempotency("mismatch")
            raise IdempotencyMismatch(param="Idempotency-Key")
        if answer is None:
            self._metrics.idempotency("busy")
            raise IdempotencyBusy(param="Idempotency-Key", retry_after_s=RETRY_AFTER_S)
        return answer

    def _unkept(self, attempt: Attempt, reason: str) -> None:
        self._metrics.idempotency("unkept")
        _log.warning("the answer of attempt %s is not kept, a later one would run again: %s", attempt.id, reason)

    def _sealed(self, attempt: Attempt, answer: bytes) -> bytes:
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, answer, _head(attempt, attempt.request_hash))

    def _opened(self, attempt: Attempt, found: Found, sealed: bytes) -> bytes | None:
        """The answer under the hash that it was kept with; None if it was changed or sealed with another secret."""
        try:
            return self._cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], _head(attempt, found.request_hash))
        except (InvalidTag, ValueError):
            return None

    async def _sweep(self) -> None:
        swept = SWEEP_ROWS
        try:
            while swept == SWEEP_ROWS:
                swept = await whole(self._store.sweep(rows_max=SWEEP_ROWS))
                await asyncio.sleep(SWEEP_PAUSE_S)
        except StoreUnavailable as error:
            _log.warning("expired idempotency keys are not swept now: %s", error)


def _head(attempt: Attempt, request_hash: bytes) -> bytes:
    return b"".join(map(_framed, (attempt.caller_id.encode(), attempt.key.encode(), request_hash)))


def _framed(part: bytes | None) -> bytes:
    """The part behind its length, so that no two rows of parts look the same; what is missing is not what is empty."""
    return b"-" if part is None else b"%d:%b" % (len(part), part)
