"""The life of stored responses: kept, found, deleted, and in the background made by jobs that outlive their clients."""

import asyncio
import logging
from dataclasses import dataclass

from aiservice.core.clock import Clock
from aiservice.core.errors import AIServiceError, InvalidRequest, Overloaded, ResponseUnknown, StoreUnavailable
from aiservice.core.settings import ResponseSettings
from aiservice.gateway.responses.job import Job, Work
from aiservice.gateway.responses.model import Ending, Name, StoredResponse
from aiservice.gateway.responses.port import LEASE_S, ResponseStore
from aiservice.stores.polling import repeat
from aiservice.stores.queries import whole

JOBS_MAX = 256
SWEEP_PAUSE_S = 0.05
SWEEP_ROWS = 200
_DAY_US = 86_400_000_000

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How long is waited, in seconds.

    What fails within `patience_s` (a limit, an unknown model, an engine that is down) is said to the client and not
    stored. Between two looks passes the time in which a worker hears of what was cancelled through another.
    """

    patience_s: float = 0.1
    look_every_s: float = 0.5
    renew_every_s: float = 10.0
    sweep_every_s: float = 60.0


_RHYTHM = Rhythm()


class Responses:
    """The policy over a `ResponseStore`. One per worker; a job belongs to the worker that began it."""

    def __init__(
        self,
        store: ResponseStore,
        settings: ResponseSettings,
        clock: Clock,
        *,
        rhythm: Rhythm = _RHYTHM,
        jobs_max: int = JOBS_MAX,
    ) -> None:
        self._store = store
        self._jobs_max = jobs_max
        self._rhythm = rhythm
        self._settings = settings
        self._clock = clock
        self._jobs: dict[Name, Job] = {}

    async def keep(self, name: Name, ending: Ending, *, conversation: bytes) -> None:
        """Stores a response that is whole; raises `StoreUnavailable` where it cannot be stored."""
        await whole(self._store.add(self._stored(name, ending, conversation, is_running=False)))

    async def find(self, name: Name) -> StoredResponse:
        """The tenant's response of that id; raises `ResponseUnknown`. One whose worker died has failed."""
        found = await whole(self._store.find(name))
        if found is not None and found.is_running and found.lease_until_us <= self._clock.now_us():
            await whole(self._store.close(name, "failed", lapsed_only=True))
            found = await whole(self._store.find(name))
        if found is None:
            raise ResponseUnknown(param="response_id")
        return found

    async def ended(self, name: Name) -> StoredResponse:
        """The response once it is no longer in progress, which another worker may see to; raises `ResponseUnknown`."""
        while True:
            found = await self.find(name)
            if not found.is_running:
                return found
            await asyncio.sleep(self._rhythm.look_every_s)

    async def delete(self, name: Name) -> None:
        """Erases a response, also one in the making; raises `ResponseUnknown`."""
        if not await whole(self._store.delete(name)):
            raise ResponseUnknown(param="response_id")
        self._call_off(name)

    async def cancel(self, name: Name) -> StoredResponse:
        """Calls a background response off, and gives it as it is then; one that has ended stays as it is.

        Raises `ResponseUnknown`, or `InvalidRequest` for one that was not made in the background.
        """
        found = await self.find(name)
        if not found.is_background:
            raise InvalidRequest("Only a response that was made with background: true can be cancelled.")
        if found.is_running and await whole(self._store.close(name, "cancelled")):
            self._call_off(name)
        return await self.find(name)

    def job(self, name: Name) -> Job | None:
        """The job that makes the response, if it is one of this worker's."""
        return self._jobs.get(name)

    async def begin(self, name: Name, work: Work, *, queued: Ending, conversation: bytes) -> Job:
        """Makes a response in a job, which runs on when the caller does not; `queued` is what is shown until its end.

        Raises `Overloaded`, `StoreUnavailable` or what the work fails of within the rhythm's patience: then nothing is
        stored.
        """
        if len(self._jobs) >= self._jobs_max:
            raise Overloaded("Too many responses are being made in the background; try again later.", retry_after_s=5)
        job = Job(name)
        making = asyncio.create_task(work.make(job))
        try:
            if (await asyncio.wait({making}, timeout=self._rhythm.patience_s))[0]:
                making.result()
            await whole(self._store.add(self._stored(name, queued, conversation, is_running=True)))
        except (AIServiceError, asyncio.CancelledError):
            making.cancel()
            await asyncio.gather(making, return_exceptions=True)
            raise
        self._jobs[name] = job
        job.task = asyncio.create_task(self._run(job, making, work))
        # One that is cancelled before its first step has not called off what it would have waited for.
        job.task.add_done_callback(lambda _: making.cancel())
        job.task.add_done_callback(lambda task: self._over(job, task))
        return job

    async def tend(self) -> None:
        """Looks after jobs and deletes what has expired, until it is cancelled."""
        async with asyncio.TaskGroup() as loops:
            loops.create_task(repeat(self._look, every_s=self._rhythm.look_every_s))
            loops.create_task(repeat(self._renew, every_s=self._rhythm.renew_every_s))
            loops.create_task(repeat(self._sweep, every_s=self._rhythm.sweep_every_s))

    async def aclose(self) -> None:
        """Calls all jobs off; their responses have failed."""
        jobs = list(self._jobs.values())
        for job in jobs:
            self._call_off(job.name)
        await asyncio.gather(*(job.task for job in jobs if job.task is not None), return_exceptions=True)
        try:
            for job in jobs:
                await whole(self._store.close(job.name, "failed"))
        except StoreUnavailable as error:
            _log.warning("responses in the making are told as failed only when their leases lapse: %s", error)

    def _stored(self, name: Name, ending: Ending, conversation: bytes, *, is_running: bool) -> StoredResponse:
        tenant_id, id = name
        now_us = self._clock.now_us()
        return StoredResponse(
            id=id,
            tenant_id=tenant_id,
            status=ending.status,
            is_background=is_running,
            body=ending.body,
            conversation=conversation,
            chunks=ending.chunks,
            created_at_us=now_us,
            lease_until_us=now_us + LEASE_S * 1_000_000 if is_running else now_us,
            expires_at_us=now_us + self._settings.ttl_days * _DAY_US,
        )

    async def _run(self, job: Job, making: asyncio.Task[Ending], work: Work) -> None:
        try:
            ending = await making
        except AIServiceError as error:
            ending = work.failed(error)
        job.is_ending = True
        try:
            await whole(self._store.finish(job.name, ending))
        except StoreUnavailable as error:
            _log.warning("a response that is made cannot be stored, and is told as failed: %s", error)

    def _over(self, job: Job, task: asyncio.Task[None]) -> None:
        del self._jobs[job.name]
        job.end()
        if not task.cancelled() and (error := task.exception()) is not None:
            # Told as failed once its lease lapses.
            _log.error("making a response failed", exc_info=error)

    def _call_off(self, name: Name) -> None:
        job = self._jobs.get(name)
        if job is not None and job.task is not None and not job.is_ending:
            job.task.cancel()

    async def _look(self) -> None:
        """Calls off what was cancelled or deleted through another worker."""
        names = [job.name for job in self._jobs.values() if not job.is_ending]
        if not names:
            return
        try:
            running = await self._store.running(names)
        except StoreUnavailable as error:
            _log.warning("whether responses in the making are still wanted is not known now: %s", error)
            return
        for name in names:
            if name not in running:
                self._call_off(name)

    async def _renew(self) -> None:
        if not self._jobs:
            return
        try:
            await self._store.renew(list(self._jobs))
        except StoreUnavailable as error:
            _log.warning("the leases of responses in the making are not renewed now: %s", error)

    async def _sweep(self) -> None:
        try:
            while True:
                if await self._store.sweep(rows_max=SWEEP_ROWS) < SWEEP_ROWS:
                    return
                await asyncio.sleep(SWEEP_PAUSE_S)
        except StoreUnavailable as error:
            _log.warning("expired responses are not swept now: %s", error)
