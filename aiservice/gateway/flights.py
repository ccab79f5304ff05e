"""Single flight: of equal requests that run at once one calls the engine, and the others get its answer.

In a worker the others read the flight's chunks as they come. Between workers the cache's lease says who leads; one
request of each other worker asks for the entry every 20 ms, and the rest of that worker waits with it. A flight that
ends without an answer and without an error (its leader was lost, or left alone) is vacant: who waited starts over.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from copy import copy

from aiservice.cache import RENEW_EVERY_S, CacheKey, CachePolicy, Entry, ResponseCache
from aiservice.core.errors import AIServiceError, EngineError, Unexpected
from aiservice.core.types import Chunk
from aiservice.gateway.heartbeat import Heartbeat

log = logging.getLogger(__name__)

POLL_S = 0.02
# So often a flight that only other workers wait for asks whether they still do.
LOOK_EVERY_S = 0.2


class Flight:
    """An answer that is being made, or awaited from another worker, since the cache's `era`.

    `left` is why its leader no longer reads it.
    """

    __slots__ = (
        "_chunks",
        "_error",
        "_is_over",
        "_waiters",
        "era",
        "is_airborne",
        "is_called_off",
        "key",
        "lease_id",
        "left",
        "look",
        "readers",
        "task",
    )

    def __init__(self, key: CacheKey, lease_id: str, era: int) -> None:
        self.key = key
        self.lease_id = lease_id
        self.era = era
        self.readers = 1
        self.left: BaseException | None = None
        self.task: asyncio.Task[None] | None = None
        self.look: asyncio.Task[None] | None = None
        self.is_airborne = False
        self.is_called_off = False
        self._chunks: list[Chunk] = []
        self._error: BaseException | None = None
        self._is_over = False
        self._waiters: list[asyncio.Future[None]] = []

    def publish(self, chunk: Chunk) -> None:
        """One more chunk for all who read along."""
        self._chunks.append(chunk)
        self._wake()

    def end(self, error: BaseException | None = None) -> None:
        """No chunk will follow; without one the flight is vacant."""
        self._error = error
        self._is_over = True
        self._wake()

    async def has_begun(self) -> bool:
        """Waits for the first chunk; False when the flight is vacant. Raises what the leader's call raised.

        One that was called off gives no more chunks, however many there are.
        """
        while self.is_called_off or not self._chunks:
            if self._is_over:
                self._raise_error()
                return False
            await self._news()
        return True

    async def chunk(self, position: int) -> Chunk:
        """Waits for the chunk at a position; the last one has its tokens. Raises what the leader's call raised."""
        while position >= len(self._chunks):
            if self._is_over:
                self._raise_error()
                raise EngineError("The engine's answer was cut off.")
            await self._news()
        return self._chunks[position]

    async def _news(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        await waiter

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _raise_error(self) -> None:
        """Each reader gets an error of its own: a raised one collects the traces of all who raise it."""
        if isinstance(self._error, AIServiceError):
            raise copy(self._error)
        if self._error is not None:
            raise Unexpected(detail=f"{type(self._error).__name__} in the leader of a flight")


class Flights:
    """The flights of one worker, by the key of their request."""

    def __init__(self, cache: ResponseCache) -> None:
        self._cache = cache
        self._flights: dict[str, Flight] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def board(self, key: CacheKey, lease_id: str, policy: CachePolicy) -> Flight | Entry:
        """The flight to lead (its `lease_id` is then the one given) or to follow, or the entry if it is there by now.

        A flight to lead must be given to `depart`; every flight must be left by `leave`. Following returns when the
        first chunk is there, and raises what the leader's call raised.
        """
        began_s = asyncio.get_running_loop().time()
        while True:
            flight = self._flights.get(key.digest)
            if flight is None or flight.era != self._cache.era:
                # None, or begun before a clearing: what it makes is for those who were there.
                return await self._open(Flight(key, lease_id, self._cache.era), policy, began_s=began_s)
            flight.readers += 1
            is_boarded = False
            try:
                is_boarded = await flight.has_begun()
            finally:
                if not is_boarded:
                    self.leave(flight)
            if is_boarded:
                return flight

    def depart(self, flight: Flight, chunks: AsyncGenerator[Chunk]) -> None:
        """Makes the answer in a task of its own, so that it does not depend on its leader's client."""
        flight.task = asyncio.create_task(self._fly(flight, chunks))
        self._tasks.add(flight.task)
        flight.task.add_done_callback(lambda task: self._landed(flight, task))

    def leave(self, flight: Flight) -> None:
        """One reader less. A flight that nobody reads any more is called off, unless another worker waits for it."""
        flight.readers -= 1
        is_flying = flight.task is not None and not flight.task.done()
        if flight.readers == 0 and is_flying and (flight.look is None or flight.look.done()):
            flight.look = asyncio.create_task(self._look(flight))

    async def aclose(self) -> None:
        """Calls all flights off and waits for their ends to be recorded."""
        await asyncio.sleep(0)  # A task that is cancelled before its first step would leave no record.
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _open(self, flight: Flight, policy: CachePolicy, *, began_s: float) -> Flight | Entry:
        """Leads, or asks until the leader in another worker has answered or is lost."""
        self._flights[flight.key.digest] = flight
        now_s = asyncio.get_running_loop().time
        is_leader = False
        try:
            while True:
                claim = await self._cache.claim(flight.key, flight.lease_id, policy, waited_s=now_s() - began_s)
                is_leader = claim.is_leader
                if is_leader:
                    return flight
                if claim.entry is not None:
                    for choice in claim.entry.completion.choices:
                        flight.publish(choice)
                    return claim.entry
                await asyncio.sleep(POLL_S)
        except asyncio.CancelledError:
            await self._cache.release(flight.key, flight.lease_id)
            raise
        finally:
            if not is_leader:
                self._forget(flight)
                flight.end()

    async def _fly(self, flight: Flight, chunks: AsyncGenerator[Chunk]) -> None:
        flight.is_airborne = True
        try:
            with Heartbeat(lambda: self._beat(flight), every_s=RENEW_EVERY_S):
                async with aclosing(chunks):
                    async for chunk in chunks:
                        flight.publish(chunk)
        finally:
            # Where the answer was kept, its lease is over already.
            await self._cache.release(flight.key, flight.lease_id)

    def _landed(self, flight: Flight, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._forget(flight)
        if flight.look is not None:
            flight.look.cancel()
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, AIServiceError):
            log.error("making an answer failed", exc_info=error)
        flight.end(error)

    def _forget(self, flight: Flight) -> None:
        """Another may have taken its place since."""
        if self._flights.get(flight.key.digest) is flight:
            del self._flights[flight.key.digest]

    async def _look(self, flight: Flight) -> None:
        """Until someone reads it again: the last who waits for it elsewhere may leave at any time."""
        while flight.readers == 0 and not flight.is_called_off:
            await self._beat(flight)
            await asyncio.sleep(LOOK_EVERY_S)

    async def _beat(self, flight: Flight) -> None:
        is_wanted = await self._cache.renew(flight.key, flight.lease_id)
        # A task that is cancelled before its first step would end without a record, and one that is cancelled again
        # would not come to its end.
        is_idle = flight.is_airborne and not flight.is_called_off
        if flight.readers == 0 and not is_wanted and is_idle and flight.task is not None:
            flight.is_called_off = True
            flight.task.cancel()
