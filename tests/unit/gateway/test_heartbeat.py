"""Signs of life while a block runs."""

import asyncio

from aiservice.core.errors import StoreUnavailable
from aiservice.gateway.heartbeat import Heartbeat


class Heart:
    def __init__(self, *, is_down: bool = False) -> None:
        self.beats = 0
        self.is_down = is_down

    async def beat(self) -> None:
        self.beats += 1
        if self.is_down:
            raise StoreUnavailable


async def test_a_short_block_has_no_beat() -> None:
    heart = Heart()
    with Heartbeat(heart.beat, every_s=0.01):
        pass
    await asyncio.sleep(0.03)
    assert heart.beats == 0


async def test_a_long_block_beats_until_it_ends() -> None:
    heart = Heart()
    with Heartbeat(heart.beat, every_s=0.01):
        await asyncio.sleep(0.1)
    beats = heart.beats
    assert beats >= 3
    await asyncio.sleep(0.03)
    assert heart.beats == beats


async def test_a_store_that_is_down_does_not_stop_the_heart() -> None:
    heart = Heart(is_down=True)
    with Heartbeat(heart.beat, every_s=0.01):
        await asyncio.sleep(0.1)
    assert heart.beats >= 3
