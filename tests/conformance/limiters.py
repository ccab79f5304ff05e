"""The limiters that there are, and what their conformance files share."""

from collections.abc import Callable, Mapping
from pathlib import Path

from aiservice.core.clock import Clock
from aiservice.limits import Bucket, Cost, Limiter, Slots, Take
from aiservice.limits.memory import MemoryLimiter
from aiservice.limits.sqlite import SqliteLimiter

# One row for each backend; called again with the same folder it opens the same store once more.
LIMITERS: Mapping[str, Callable[[Path, Clock], Limiter]] = {
    "memory": lambda _, clock: MemoryLimiter(clock),
    "sqlite": lambda folder, clock: SqliteLimiter(folder / "limits.db", clock),
}
BETWEEN_PROCESSES = tuple(name for name in LIMITERS if name != "memory")
START_US = 1_750_000_000_000_000
SECOND_US = 1_000_000


def take_of(request_id: str, *costs: tuple[Bucket, int], slots: tuple[Slots, ...] = ()) -> Take:
    return Take(request_id, tuple(Cost(bucket, amount) for bucket, amount in costs), slots)


def handles_of(backend: str, folder: Path, clock: Clock) -> tuple[Limiter, Limiter]:
    """Two workers' ways to one store; in one process's memory both are the same."""
    first = LIMITERS[backend](folder, clock)
    return first, LIMITERS[backend](folder, clock) if backend in BETWEEN_PROCESSES else first
