"""The metrics and their names. Import only after `share_metrics`, where processes share their values.

A write to the shared files costs 2 us, and a request counts ten things: so they are summed up in the process, and
`flush` writes them, ten times a second. A worker killed by force takes its last tenth of a second with it; the ledger
is what is exact. Values that others choose do not become labels without bound: an endpoint must be one of those handed
to the constructor, and of models and engines the first 100 are told apart; the rest is `other`.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from typing import Generic, Literal, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, values
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
OTHER = "other"
LABEL_VALUES_MAX = 100
REQUEST_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
FIRST_TOKEN_BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

CacheResult = Literal["hit", "miss", "bypass"]
IdempotencyResult = Literal["run", "replayed", "mismatch", "busy", "unkept"]
Count = Callable[[float], None]
_Metric = TypeVar("_Metric", Counter, Histogram)

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

        def histogram(name: str, help: str, label: str, *, buckets: tuple[float, ...]) -> SummedHistogram:
            return SummedHistogram(
                Histogram(f"aiservice_{name}", help, [label], registry=registry, buckets=buckets), buckets
            )

        self._requests = counter("requests_total", "Requests by endpoint and status.", "endpoint", "status")
        self._request_seconds = histogram(
            "request_seconds", "Time of a request to its answer's last byte.", "endpoint", buckets=REQUEST_BUCKETS_S
        )
        self._tokens = counter("tokens_total", "Tokens by model and kind.", "model", "kind")
        self._cache_lookups = counter("cache_lookups_total", "Cache look-ups by result.", "result")
        self._limit_refusals = counter("limit_refusals_total", "Requests over a limit, by tier.", "tier")
        self._engine_errors = counter("engine_errors_total", "Failed engine calls by code.", "engine", "code")
        self._idempotency = counter("idempotency_total", "Requests with an Idempotency-Key by result.", "result")
        self._first_token_seconds = histogram(
            "engine_first_token_seconds",
            "Time from the engine's call to its first token.",
            "engine",
            buckets=FIRST_TOKEN_BUCKETS_S,
        )
        self._summed: tuple[Summed | SummedHistogram, ...] = (
            self._requests,
            self._request_seconds,
            self._tokens,
            self._cache_lookups,
            self._limit_refusals,
            self._engine_errors,
            self._first_token_seconds,
            self._idempotency,
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
        self.stores = StoreMetrics(registry)

    def request_opened(self) -> None:
        self._open_count += 1

    def request_closed(self) -> None:
        self._open_count -= 1

    def request(self, endpoint: str, status: int, seconds: float) -> None:
        """An answer is out; `endpoint` is the route's path as it is registered."""
        if endpoint not in self._endpoints:
            endpoint = OTHER
        self._requests.count(endpoint, str(status), amount=1)
        self._request_seconds.observe(endpoint, seconds)

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
        self._first_token_seconds.observe(engine, seconds)

    def idempotency(self, result: IdempotencyResult) -> None:
        """What became of a request with an Idempotency-Key; `unkept` follows `run` when its answer was not kept."""
        self._idempotency.count(result, amount=1)

    def flush(self) -> None:
        """Writes what was counted since the last time to where the other processes see it."""
        self._open_requests.set(self._open_count)
        for summed in self._summed:
            summed.flush()

    def render(self) -> bytes:
        """Prometheus' text form; its media type is `CONTENT_TYPE`. Reads one small file per process and kind."""
        self.flush()
        if not _is_shared():
            return generate_latest(self._registry)
        summed = CollectorRegistry(auto_describe=False)
        _COLLECT_ALL(summed)
        return generate_latest(summed)


class StoreMetrics:
    """How the servers of the stores stand. What is counted elsewhere is handed over as it stands, and counted on."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._up = Gauge(
            "aiservice_store_up",
            "Whether a store answers: 1, or 0 where a worker has no answer from it.",
            ["store"],
            registry=registry,
            multiprocess_mode="livemin",
        )
        self._failures = Counter(
            "aiservice_store_failures_total",
            "Failed calls of a store; of a database the seconds in which it did not answer.",
            ["store"],
            registry=registry,
        )
        self._local_takes = Counter(
            "aiservice_limits_local_takes_total",
            "Takes from a worker's own share of a limit, while Redis was away.",
            registry=registry,
        )
        lag = Gauge(
            "aiservice_usage_replica_lag_seconds",
            "How far the replica is behind the usage that a worker has shipped; the largest of all workers.",
            registry=registry,
            multiprocess_mode="livemax",
        )
        strays = Gauge(
            "aiservice_usage_stray_rows",
            "Rows of the ledger that are in no month's partition; more than 0 is worth an alarm.",
            registry=registry,
            multiprocess_mode="livemax",
        )
        self.set_replica_lag_s: Count = lag.set
        self.set_stray_rows: Count = strays.set
        self._counted: dict[str, int] = {}

    def store(self, name: str, *, is_up: bool, failures: int) -> None:
        """`failures` is how many there were since this process started."""
        self._up.labels(name).set(is_up)
        self._failures.labels(name).inc(self._more(name, failures))

    def local_takes(self, takes: int) -> None:
        """`takes` is how many there were since this process started."""
        self._local_takes.inc(self._more("", takes))

    def _more(self, name: str, count: int) -> int:
        more = count - self._counted.get(name, 0)
        self._counted[name] = count
        return more


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


class Children(Generic[_Metric]):
    """The children of one metric by their label values; of the first label at most 100 values and `other`."""

    __slots__ = ("_children", "_firsts", "_metric")

    def __init__(self, metric: _Metric) -> None:
        self._metric: _Metric = metric
        self._firsts: set[str] = set()
        self._children: dict[tuple[str, ...], _Metric] = {}

    def child(self, labels: tuple[str, ...]) -> _Metric:
        """What counts under these label values, or under `other`."""
        child = self._children.get(labels)
        return self._made(labels) if child is None else child

    def _made(self, labels: tuple[str, ...]) -> _Metric:
        if labels[0] not in self._firsts:
            if len(self._firsts) >= LABEL_VALUES_MAX and labels[0] != OTHER:
                return self._made((OTHER, *labels[1:]))
            self._firsts.add(labels[0])
        child: _Metric = self._metric.labels(*labels)
        self._children[labels] = child
        return child


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
            self._children.child(labels).inc(amount)


class SummedHistogram:
    """A histogram of one label whose observations are summed up, bucket by bucket, until `flush` writes them."""

    __slots__ = ("_bounds", "_children", "_seen")

    def __init__(self, metric: Histogram, bounds: Sequence[float]) -> None:
        self._children = Children(metric)
        self._bounds = bounds
        # By label: how many fell into each bucket, and their sum.
        self._seen: dict[str, tuple[list[int], list[float]]] = {}

    def observe(self, label: str, amount: float) -> None:
        seen = self._seen.get(label)
        if seen is None:
            seen = self._seen[label] = ([0] * (len(self._bounds) + 1), [0.0])
        counts, total = seen
        counts[bisect_left(self._bounds, amount)] += 1
        total[0] += amount

    def flush(self) -> None:
        seen, self._seen = self._seen, {}
        for label, (counts, (total,)) in seen.items():
            # The library offers no way to add many observations at once but its parts, hence the pinned version.
            child = self._children.child((label,))
            child._sum.inc(total)
            for bucket, count in zip(child._buckets, counts, strict=True):
                if count:
                    bucket.inc(count)


def _is_shared() -> bool:
    """Whether prometheus_client, when it was imported, chose values that processes share."""
    return bool(values.ValueClass._multiprocess)
