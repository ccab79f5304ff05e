"""The corridor's last step: what a request came to, for the ledger, the limiter, the cache and the metrics."""

import asyncio
import logging
from collections.abc import Mapping
from types import TracebackType

from aiservice.cache import ResponseCache
from aiservice.core.clock import Clock
from aiservice.core.errors import AIServiceError, EngineError, LimitExceeded, SpoolFull, StoreUnavailable, Unexpected
from aiservice.core.types import Tokens
from aiservice.engines import Model
from aiservice.gateway.flights import Flight
from aiservice.gateway.model import CacheState, Errand, Spent, Transcript, Visit
from aiservice.gateway.pricing import cost_nano
from aiservice.limits import Limits, Take
from aiservice.observe.metrics import CacheResult, Metrics
from aiservice.usage import Ledger, UsageRecord, UsageStart

log = logging.getLogger(__name__)

PROGRESS_INTERVAL_S = 1.0
# Status and error code that a request is recorded under.
Outcome = tuple[int, str | None]
SERVED: Outcome = (200, None)
CLIENT_LEFT = (499, "client_gone")
_NOTHING = Tokens(0, 0)
_RESULTS: Mapping[CacheState, CacheResult] = {"HIT": "hit", "MISS": "miss", "BYPASS": "bypass"}


class Recorder:
    """Writes one row per request, settles its take and keeps its answer."""

    def __init__(self, *, limits: Limits, cache: ResponseCache, ledger: Ledger, metrics: Metrics, clock: Clock) -> None:
        self._limits = limits
        self._cache = cache
        self._ledger = ledger
        self._metrics = metrics
        self._clock = clock

    def refused(
        self, visit: Visit, error: AIServiceError | asyncio.CancelledError, *, model: str | None = None
    ) -> None:
        """A known caller was refused, or left, before any engine worked on the request."""
        if isinstance(error, LimitExceeded):
            self._metrics.limit_refusal(visit.caller.tier)
        self._row(visit, model, _NOTHING, outcome=_outcome(error))

    def looked_up(self, state: CacheState) -> None:
        """The cache was asked, or passed by."""
        self._metrics.cache_lookup(_RESULTS[state])

    async def replayed(self, visit: Visit, take: Take, *, model: str, saved: Tokens) -> None:
        """The answer came from the cache: one row, no tokens."""
        try:
            self._row(visit, model, _NOTHING, saved=saved.total)
        except SpoolFull:
            await self._refund(take)
            raise
        await self._settle(take, tokens=0)
        if self._ledger.is_durable:
            await self._ledger.synced()

    async def started(self, errand: Errand) -> Transcript:
        """The engine is about to be called; raises `SpoolFull` when that cannot be written down."""
        try:
            return self.consulting(errand.visit, errand.route.model, errand.prompt_estimate)
        except SpoolFull:
            await self._refund(errand.take)
            raise

    def consulting(self, visit: Visit, model: Model, prompt_estimate: int) -> Transcript:
        """A model is about to be asked; raises `SpoolFull` when that cannot be written down."""
        start = UsageStart(
            visit.id,
            visit.caller.logical_id,
            visit.caller.tenant_id,
            visit.caller.user_id,
            visit.endpoint,
            model.name,
            prompt_estimate,
            visit.created_at_us,
            model.prompt_price_nano,
            model.completion_price_nano,
        )
        self._ledger.start(start)
        return Transcript(prompt_estimate, self._clock.monotonic_s())

    def first_chunk(self, errand: Errand, transcript: Transcript) -> None:
        """The engine's first chunk is here."""
        took_s = self._clock.monotonic_s() - transcript.marked_s
        self._metrics.engine_first_token(errand.route.model.engine, took_s)

    def progressed(self, visit: Visit, transcript: Transcript) -> None:
        """A stream goes on: about once a second the spool hears how far it got."""
        now_s = self._clock.monotonic_s()
        if now_s - transcript.marked_s >= PROGRESS_INTERVAL_S:
            transcript.marked_s = now_s
            elapsed_ms = round((now_s - visit.started_s) * 1000)
            self._ledger.progress(visit.id, transcript.pieces, elapsed_ms)

    def used(self, model: Model, tokens: Tokens) -> None:
        """An engine counted these."""
        self._metrics.tokens(model.name, prompt=tokens.prompt, completion=tokens.completion)

    def engine_failed(self, model: Model, error: EngineError) -> None:
        """A model was asked and gave no whole answer."""
        self._metrics.engine_error(model.engine, error.code)

    async def worked(self, visit: Visit, take: Take, spent: Spent, *, error: BaseException | None) -> None:
        """A request that our own work answers is done, failed (`error`) or was left: its row, then its take.

        As with an engine's answer a failure before the first token gives the request back.
        """
        outcome = SERVED if error is None else _outcome(error)
        try:
            self._row(visit, spent.model, spent.tokens, outcome=outcome, cost=spent.cost)
        except SpoolFull:
            await self._refund(take)
            raise
        if error is None:
            await self._settle(take, tokens=spent.tokens.total)
        else:
            await self._close(take, outcome, spent.tokens)
        if self._ledger.is_durable:
            await self._ledger.synced()

    async def completed(self, errand: Errand, transcript: Transcript, flight: Flight | None) -> None:
        """The engine gave a whole answer, though perhaps to others than the one who asked for it.

        Raises `AnswerInvalid` before anything is recorded or kept when it is not of the form that was asked for.
        """
        model = errand.route.model
        completion = transcript.completion(model.name, model.engine)
        errand.form.check(completion)
        transcript.is_recorded = True
        tokens = completion.tokens
        left = None if flight is None else flight.left
        outcome = SERVED if left is None else _outcome(left)
        self.used(model, tokens)
        self._row(errand.visit, model.name, tokens, outcome=outcome, cost=cost_nano(model, tokens))
        await self._settle(errand.take, tokens=tokens.total)
        if errand.cache_key is not None:
            lease_id = None if flight is None else flight.lease_id
            await self._cache.keep(errand.cache_key, completion, lease_id=lease_id)
        if self._ledger.is_durable:
            await self._ledger.synced()

    async def failed(self, errand: Errand, transcript: Transcript, error: BaseException) -> None:
        """The engine failed, the client left, or the service itself is at fault: tokens so far are recorded.

        A failure before the first token gives the request back; a client that leaves does not get it back.
        """
        model, tokens = errand.route.model, transcript.tokens_so_far()
        outcome = _outcome(error)
        if isinstance(error, EngineError):
            self.engine_failed(model, error)
        self.used(model, tokens)
        self._row(errand.visit, model.name, tokens, outcome=outcome, cost=cost_nano(model, tokens))
        await self._close(errand.take, outcome, tokens)

    async def shared(self, errand: Errand, saved: Tokens) -> None:
        """The answer came from another's flight: like one from the cache."""
        assert errand.cache_key is not None
        await self.replayed(errand.visit, errand.take, model=errand.route.model.name, saved=saved)
        await self._cache.joined(errand.cache_key, 1)

    async def missed(self, errand: Errand, error: BaseException) -> None:
        """Another's flight failed, or this client did not wait for it; the tokens are the other's."""
        outcome = _outcome(error)
        try:
            self._row(errand.visit, errand.route.model.name, _NOTHING, outcome=outcome)
        finally:
            await self._close(errand.take, outcome, _NOTHING)

    async def _close(self, take: Take, outcome: Outcome, tokens: Tokens) -> None:
        if outcome == CLIENT_LEFT or tokens.completion:
            await self._settle(take, tokens=tokens.total)
        else:
            await self._refund(take)

    async def _refund(self, take: Take) -> None:
        """Whatever the request failed of is said also when the limiter cannot be told to give it back."""
        try:
            await self._limits.refund(take)
        except StoreUnavailable as error:
            log.warning("a take is not given back: %s", error)

    async def _settle(self, take: Take, *, tokens: int) -> None:
        """The answer is there and recorded: it is given also when the limiter cannot be told what it came to."""
        try:
            await self._limits.settle(take, tokens=tokens)
        except StoreUnavailable as error:
            log.warning("a take stays as it was estimated: %s", error)

    def _row(
        self,
        visit: Visit,
        model: str | None,
        tokens: Tokens,
        *,
        outcome: Outcome = SERVED,
        saved: int = 0,
        cost: int = 0,
    ) -> None:
        record = UsageRecord(
            id=visit.id,
            api_key_id=visit.caller.logical_id,
            tenant_id=visit.caller.tenant_id,
            user_id=visit.caller.user_id,
            endpoint=visit.endpoint,
            model_used=model,
            prompt_tokens=tokens.prompt,
            completion_tokens=tokens.completion,
            tokens_saved=saved,
            response_cached=saved > 0,
            response_time_ms=round((self._clock.monotonic_s() - visit.started_s) * 1000),
            status_code=outcome[0],
            error_message=outcome[1],
            created_at_us=visit.created_at_us,
            cost_nano=cost,
        )
        self._ledger.end(record)


class Making:
    """An engine's call from its start record to its row, however it ends. With a flight, its end is the row's time."""

    __slots__ = ("_errand", "_flight", "_recorder", "_transcript")

    def __init__(self, recorder: Recorder, errand: Errand, flight: Flight | None) -> None:
        self._recorder = recorder
        self._errand = errand
        self._flight = flight

    async def __aenter__(self) -> Transcript:
        self._transcript = await self._recorder.started(self._errand)
        return self._transcript

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None or self._transcript.is_recorded:
            return
        left = None if self._flight is None else self._flight.left
        await self._recorder.failed(self._errand, self._transcript, left or error)


class Reading:
    """A request that reads a flight. A follower has its row before its last chunk, or when it fails or is left.

    The leader's row is written where the answer is made, so of a leader only why it left is noted.
    """

    __slots__ = ("_errand", "_flight", "_is_leader", "_is_recorded", "_recorder")

    def __init__(self, recorder: Recorder, errand: Errand, flight: Flight | None) -> None:
        self._recorder = recorder
        self._errand = errand
        self._flight = flight
        self._is_leader = flight is not None and flight.lease_id == errand.visit.id
        self._is_recorded = self._is_leader

    async def whole(self, tokens: Tokens) -> None:
        """The last chunk is there."""
        if not self._is_recorded:
            self._is_recorded = True
            await self._recorder.shared(self._errand, tokens)

    async def __aenter__(self) -> "Reading":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and self._is_leader:
            assert self._flight is not None
            self._flight.left = error
        elif error is not None and not self._is_recorded:
            await self._recorder.missed(self._errand, error)


def _outcome(error: BaseException) -> Outcome:
    if isinstance(error, AIServiceError):
        return error.status, error.code
    if isinstance(error, GeneratorExit | asyncio.CancelledError):
        return CLIENT_LEFT
    return Unexpected.status, Unexpected.code
