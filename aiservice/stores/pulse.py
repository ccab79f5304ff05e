"""Whether a database answers: asked each second in the background, so that nobody who wants to know it has to wait."""

from typing import NoReturn

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from aiservice.core.clock import Clock
from aiservice.core.errors import StoreUnavailable
from aiservice.stores.databases import transaction
from aiservice.stores.polling import repeat
from aiservice.stores.tables import auth_events

BEAT_S = 1.0
# A question that has had no answer for so long is none.
LATE_S = 1.0

# Something that is in the database: a constant would tell of the program alone.
_QUESTION = sa.select(sa.func.max(auth_events.c.seq))


class Pulse:
    """Of one database. `run` must go on beside it; before the first answer it counts as up."""

    def __init__(self, engine: AsyncEngine, clock: Clock) -> None:
        self.failures = 0
        self.latency_s = 0.0
        self._engine = engine
        self._clock = clock
        self._is_up = True
        self._asked_s: float | None = None

    @property
    def is_up(self) -> bool:
        """Whether the last question was answered, and the one under way is not overdue."""
        is_late = self._asked_s is not None and self._clock.monotonic_s() - self._asked_s > LATE_S
        return self._is_up and not is_late

    async def run(self, beat_s: float = BEAT_S) -> NoReturn:
        """Asks until it is cancelled."""
        await repeat(self.beat, every_s=beat_s)

    async def beat(self) -> None:
        """One question; counts a failure where there is no answer."""
        asked_s = self._asked_s = self._clock.monotonic_s()
        try:
            async with transaction(self._engine, purpose="keys") as connection:
                await connection.execute(_QUESTION)
        except (StoreUnavailable, sa.exc.SQLAlchemyError):
            self._is_up = False
            self.failures += 1
        else:
            self._is_up = True
        finally:
            self.latency_s = self._clock.monotonic_s() - asked_s
            self._asked_s = None
