"""The metrics and their names. Import only after `share_metrics`, where processes share their values.

A write to the shared files costs 2 us, and a request counts ten things: so counters are summed up in the process, and
`flush` writes them, ten times a second. A worker killed by force takes its last tenth of a second with it; the ledger
is what is exact. Histograms are written at once. Values that others choose do not become labels without bound: an
endpoint must be one of those handed to the constructor, and of models and engines the first 100 are told apart; the
rest is `other`.
"""

from collections.abc import Callable, Iterable
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, values
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
OTHER = "other"
LABEL_VALUES_MAX = 100
REQUEST_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
FIRST_TOKEN_BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

CacheResult = Literal["hit", "miss", "bypass"]
Count = Callable[[float], None]

# The library leaves these two without types.
_COLLECT_ALL: Callable[[CollectorRegistry], object] = MultiProcessCollector
_FORGET_LIVE: Callable[[int], None] = mark_process_dead


class Metrics:
    """What one process counts. `render` gives the sums over all processes, the dead included."""

    def __init__(self, endpoints: Iterable[str] = ()) -> None:
        self._registry = registry = CollectorRegistry(auto_describe=False)
        self._endpoints = frozenset(endpoints)

        def counter(name: str, help: str, *labels: str) -> Summed:
            return Summed(Counter(f"aiservice_{name}", help, labels, registry=registry))

        def histogram(name: str, help: str, label: str, *, buckets: tuple[float, ...]) -> Children:
            return Children(Histogram(f"aiservice_{name}", help, [label], registry=registry, buckets=buckets))

        self._requests = counter("requests_total", "Requests by endpoint and status.", "endpoint", "status")
        self._request_seconds = histogram(
            "request_seconds", "Time of a request to its answer's last byte.", "endpoint", buckets=REQUEST_BUCKETS_S
        )
        self._tokens = counter("tokens_total", "Tokens by model and kind.", "model", "kind")
        self._cache_lookups = counter("cache_lookups_total", "Cache look-ups by result.", "result")
        self._limit_refusals = counter("limit_refusals_total", "Requests over a limit, by tier.", "tier")
        self._engine_errors = counter("engine_errors_total", "Failed engine calls by code.", "engine", "code")
        self._counters = (
            self._requests,
            self._tokens,
            self._cache_lookups,
            self._limit_refusals,
            self._engine_errors,
        )
        self._first_token_seconds = histogram(
            "engine_first_token_seconds",
            "Time from the engine's call to its first token.",
            "engine",
            buckets=FIRST_TOKEN_BUCKETS_S,
        )
        self._open_count = 0
        self._open_requests = Gauge(
            "aiservice_open_requests", "Requests being worked on.", registry=registry, multiprocess_mode="livesum"
        )
        spool_bytes = Gauge(
            "aiservice_usage_spool_bytes",
            "Usage of all workers that is not in the database yet, as measured last.",
            registry=registry,
            multiprocess_mode="livemostrecent",
        )
        self.set_spool_bytes: Count = spool_bytes.set

    def request_opened(self) -> None:
        self._open_count += 1

    def request_closed(self) -> None:
        self._open_count -= 1

    def request(self, endpoint: str, status: int, seconds: float) -> None:
        """An answer is out; `endpoint` is the route's path as it is registered."""
        if endpoint not in self._endpoints:
            endpoint = OTHER
        self._requests.count(endpoint, str(status), amount=1)
        self._request_seconds.count(endpoint, amount=seconds)

    def tokens(self, model: str, *, prompt: int, completion: int) -> None:
        """Tokens that an engine worked on; `model` is the name that the registry resolved."""
        self._tokens.count(model, "prompt", amount=prompt)
        self._tokens.count(model, "completion", amount=completion)

    def cache_lookup(self, result: CacheResult) -> None:
        self._cache_lookups.count(result, amount=1)

    def limit_refusal(self, tier: str) -> None:
        self._limit_refusals.count(tier, amount=1)

    def engine_error(self, engine: str, code: str) -> None:
        """An engine call failed; `code` is the error's stable code."""
        self._engine_errors.count(engine, code, amount=1)

    def engine_first_token(self, engine: str, seconds: float) -> None:
        self._first_token_seconds.count(engine, amount=seconds)

    def flush(self) -> None:
        """Writes what was counted since the last time to where the other processes see it."""
        self._open_requests.set(self._open_count)
        for counter in self._counters:
            counter.flush()

    def render(self) -> bytes:
        """Prometheus' text form; its media type is `CONTENT_TYPE`. Reads one small file per process and kind."""
        self.flush()
        if not _is_shared():
            return generate_latest(self._registry)
        summed = CollectorRegistry(auto_describe=False)
        _COLLECT_ALL(summed)
        return generate_latest(summed)


class SupervisorMetrics:
    """What the supervisor counts; the workers' `render` shows it."""

    def __init__(self) -> None:
        self._restarts = Counter(
            "aiservice_worker_restarts_total", "Workers that died and were replaced.", registry=CollectorRegistry()
        )

    def worker_died(self, pid: int) -> None:
        """Counts a replaced worker; its open requests leave the sum, its counters stay."""
        self._restarts.inc()
        self.process_ended(pid)

    def process_ended(self, pid: int) -> None:
        if _is_shared():
            _FORGET_LIVE(pid)


class Children:
    """The children of one metric by their label values; of the first label at most 100 values and `other`."""

    __slots__ = ("_counts", "_firsts", "_metric")

    def __init__(self, metric: Counter | Histogram) -> None:
        self._metric = metric
        self._firsts: set[str] = set()
        self._counts: dict[tuple[str, ...], Count] = {}

    def count(self, *labels: str, amount: float) -> None:
        """Adds to a counter or observes in a histogram."""
        count = self._counts.get(labels)
        if count is None:
            count = self._made(labels)
        count(amount)

    def _made(self, labels: tuple[str, ...]) -> Count:
        if labels[0] not in self._firsts:
            if len(self._firsts) >= LABEL_VALUES_MAX and labels[0] != OTHER:
                return self._made((OTHER, *labels[1:]))
            self._firsts.add(labels[0])
        child = self._metric.labels(*labels)
        count: Count = child.inc if isinstance(child, Counter) else child.observe
        self._counts[labels] = count
        return count


class Summed:
    """A counter whose increments are summed up until `flush` writes them."""

    __slots__ = ("_children", "_sums")

    def __init__(self, metric: Counter) -> None:
        self._children = Children(metric)
        self._sums: dict[tuple[str, ...], float] = {}

    def count(self, *labels: str, amount: float) -> None:
        self._sums[labels] = self._sums.get(labels, 0) + amount

    def flush(self) -> None:
        sums, self._sums = self._sums, {}
        for labels, amount in sums.items():
            self._children.count(*labels, amount=amount)


def _is_shared() -> bool:
    """Whether prometheus_client, when it was imported, chose values that processes share."""
    return bool(values.ValueClass._multiprocess)
