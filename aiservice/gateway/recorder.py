"""The corridor's last step: what a request came to, for the ledger, the limiter, the cache and the metrics."""

import asyncio
from collections.abc import Mapping

from aiservice.cache import ResponseCache
from aiservice.core.clock import Clock
from aiservice.core.errors import AIServiceError, EngineError, LimitExceeded, Unexpected
from aiservice.core.types import Tokens
from aiservice.gateway.model import CacheState, Errand, Transcript, Visit
from aiservice.gateway.pricing import cost_nano
from aiservice.limits import Limits
from aiservice.observe.metrics import CacheResult, Metrics
from aiservice.usage import Ledger, UsageRecord, UsageStart

PROGRESS_INTERVAL_S = 1.0
# Status and error code that a request is recorded under.
Outcome = tuple[int, str | None]
SERVED: Outcome = (200, None)
CLIENT_LEFT = (499, "client_gone")
_RESULTS: Mapping[CacheState, CacheResult] = {"HIT": "hit", "MISS": "miss", "BYPASS": "bypass"}


class Recorder:
    """Writes one row per request, settles its take and keeps its answer."""

    def __init__(self, *, limits: Limits, cache: ResponseCache, ledger: Ledger, metrics: Metrics, clock: Clock) -> None:
        self._limits = limits
        self._cache = cache
        self._ledger = ledger
        self._metrics = metrics
        self._clock = clock

    def refused(self, visit: Visit, error: AIServiceError, *, model: str | None = None) -> None:
        """A known caller was refused before any engine worked on the request."""
        if isinstance(error, LimitExceeded):
            self._metrics.limit_refusal(visit.caller.tier)
        self._row(visit, model, Tokens(0, 0), outcome=(error.status, error.code))

    def looked_up(self, state: CacheState) -> None:
        """The cache was asked, or passed by."""
        self._metrics.cache_lookup(_RESULTS[state])

    def first_chunk(self, errand: Errand, transcript: Transcript) -> None:
        """The engine's first chunk is here."""
        took_s = self._clock.monotonic_s() - transcript.marked_s
        self._metrics.engine_first_token(errand.route.model.engine, took_s)

    def replayed(self, visit: Visit, model: str, saved: Tokens) -> None:
        """The answer came from the cache: one row, no tokens."""
        self._row(visit, model, Tokens(0, 0), saved=saved.total)

    def started(self, errand: Errand) -> Transcript:
        """The engine is about to be called; raises `SpoolFull` when that cannot be written down."""
        visit = errand.visit
        start = UsageStart(
            visit.id,
            visit.caller.logical_id,
            visit.caller.tenant_id,
            visit.caller.user_id,
            visit.endpoint,
            errand.route.model.name,
            errand.prompt_estimate,
            visit.created_at_us,
        )
        self._ledger.start(start)
        return Transcript(errand.prompt_estimate, self._clock.monotonic_s())

    def progressed(self, errand: Errand, transcript: Transcript) -> None:
        """A stream goes on: about once a second the spool hears how far it got."""
        now_s = self._clock.monotonic_s()
        if now_s - transcript.marked_s >= PROGRESS_INTERVAL_S:
            transcript.marked_s = now_s
            self._ledger.progress(errand.visit.id, len(transcript.parts))

    async def completed(self, errand: Errand, transcript: Transcript) -> None:
        """The engine gave a whole answer."""
        model = errand.route.model
        completion = transcript.completion(model.name, model.engine)
        tokens = completion.tokens
        self._metrics.tokens(model.name, prompt=tokens.prompt, completion=tokens.completion)
        self._row(errand.visit, model.name, tokens, cost=cost_nano(model, tokens))
        await self._limits.settle(errand.take, tokens=tokens.total)
        if errand.cache_key is not None:
            await self._cache.keep(errand.cache_key, completion)
        if self._ledger.is_durable:
            await self._ledger.synced()

    async def failed(self, errand: Errand, transcript: Transcript, error: BaseException) -> None:
        """The engine failed, the client left, or the service itself is at fault: tokens so far are recorded.

        A failure before the first token gives the request back; a client that leaves does not get it back.
        """
        model, tokens = errand.route.model, transcript.tokens_so_far()
        outcome = _outcome(error)
        if isinstance(error, EngineError):
            self._metrics.engine_error(model.engine, error.code)
        self._metrics.tokens(model.name, prompt=tokens.prompt, completion=tokens.completion)
        self._row(errand.visit, model.name, tokens, outcome=outcome, cost=cost_nano(model, tokens))
        if outcome == CLIENT_LEFT or transcript.parts:
            await self._limits.settle(errand.take, tokens=tokens.total)
        else:
            await self._limits.refund(errand.take)

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


def _outcome(error: BaseException) -> tuple[int, str]:
    if isinstance(error, AIServiceError):
        return error.status, error.code
    if isinstance(error, GeneratorExit | asyncio.CancelledError):
        return CLIENT_LEFT
    return Unexpected.status, Unexpected.code
