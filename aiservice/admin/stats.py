"""The operator's figures, summed over all workers."""

from dataclasses import dataclass

from aiservice.cache import ResponseCache
from aiservice.engines import Registry
from aiservice.keys import Keys
from aiservice.usage import Ledger, UsageTotals


@dataclass(frozen=True, slots=True)
class Summary:
    """The service at a glance. `cache_hit_rate` is 0..1 over the requests that were served."""

    totals: UsageTotals
    cache_hit_rate: float
    active_api_keys: int
    avg_response_time_ms: float
    models_loaded: tuple[str, ...]


class Stats:
    """Reads the rooms; one per worker."""

    def __init__(self, *, keys: Keys, cache: ResponseCache, registry: Registry, ledger: Ledger) -> None:
        self._keys = keys
        self._cache = cache
        self._registry = registry
        self._ledger = ledger

    async def summary(self) -> Summary:
        """Figures of the ledger's whole life; raises `StoreUnavailable`."""
        totals = await self._ledger.totals()
        cached = await self._cache.stats()
        looked_up = cached.hits + cached.misses
        return Summary(
            totals=totals,
            cache_hit_rate=cached.hits / looked_up if looked_up else 0.0,
            active_api_keys=await self._keys.count_active(),
            avg_response_time_ms=totals.response_time_ms_total / totals.requests if totals.requests else 0.0,
            models_loaded=tuple(model.id for model in self._registry.models() if model.is_loaded),
        )
