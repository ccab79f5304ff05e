"""The limiters that there are, and what their conformance files share."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from aiservice.core.clock import Clock
from aiservice.limits import Bucket, Cost, Limiter, Slots, Take
from aiservice.limits.memory import MemoryLimiter
from aiservice.limits.outage import OutageLimiter
from aiservice.limits.redis import RedisLimiter
from aiservice.limits.sqlite import SqliteLimiter
from aiservice.stores.redis import Redis, Reply, Script, address_of

START_US = 1_750_000_000_000_000
SECOND_US = 1_000_000
# A call that this machine's noise holds up must not count as an outage: here nothing but the arithmetic is tested.
PATIENCE_S = 10.0


@dataclass(frozen=True)
class Place:
    """Where a backend keeps its state; opened again it is the same store once more."""

    backend: str
    folder: Path
    url: str = ""

    def inside(self, name: str) -> "Place":
        """An empty place of the same kind."""
        (self.folder / name).mkdir()
        return Place(self.backend, self.folder / name, self.url)


class RedisApart(Redis):
    """A folder's own part of a Redis that tests share: its name stands in every key. Connects with the first call."""

    def __init__(self, place: Place) -> None:
        super().__init__(address_of(place.url), timeout_s=PATIENCE_S, name="limits")
        self._part = hashlib.sha256(bytes(place.folder)).hexdigest()[:16]

    async def run(self, script: Script, keys: Sequence[str], args: Sequence[str | bytes | int] = ()) -> Reply:
        if not self.is_up:
            await self.start()
        return await super().run(script, [key.replace("ai:", f"ai:{self._part}", 1) for key in keys], args)


class LimiterApart(RedisLimiter):
    """Closes its Redis too."""

    def __init__(self, place: Place, clock: Clock) -> None:
        self._apart = RedisApart(place)
        super().__init__(self._apart, clock=clock)

    async def aclose(self) -> None:
        await super().aclose()
        await self._apart.aclose()


def behind_the_policy_for_outages(_: Place, clock: Clock) -> Limiter:
    """Which must not be noticed for as long as there is none."""
    return OutageLimiter(MemoryLimiter(clock), shares=12, mode="local", clock=clock)


# One row for each backend.
LIMITERS: Mapping[str, Callable[[Place, Clock], Limiter]] = {
    "memory": lambda _, clock: MemoryLimiter(clock),
    "outage": behind_the_policy_for_outages,
    "sqlite": lambda place, clock: SqliteLimiter(place.folder / "limits.db", clock),
    "redis": LimiterApart,
    "redis_cluster": LimiterApart,
}
SERVERS: Mapping[str, str] = {"redis": "redis_server", "redis_cluster": "redis_cluster"}
IN_ONE_PROCESS = frozenset({"memory", "outage"})


def _param(backend: str) -> object:
    return pytest.param(backend, marks=pytest.mark.stores) if backend in SERVERS else backend


BACKENDS = tuple(map(_param, LIMITERS))
BETWEEN_PROCESSES = tuple(_param(backend) for backend in LIMITERS if backend not in IN_ONE_PROCESS)


def place_of(request: pytest.FixtureRequest, backend: str, folder: Path) -> Place:
    server = SERVERS.get(backend)
    return Place(backend, folder, request.getfixturevalue(server).url if server else "")


def opened(place: Place, clock: Clock) -> Limiter:
    return LIMITERS[place.backend](place, clock)


def handles_of(place: Place, clock: Clock) -> tuple[Limiter, Limiter]:
    """Two workers' ways to one store; in one process's memory both are the same."""
    first = opened(place, clock)
    return first, first if place.backend in IN_ONE_PROCESS else opened(place, clock)


def take_of(request_id: str, *costs: tuple[Bucket, int], slots: tuple[Slots, ...] = ()) -> Take:
    return Take(request_id, tuple(Cost(bucket, amount) for bucket, amount in costs), slots)
