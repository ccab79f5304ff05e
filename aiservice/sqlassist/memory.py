"""The machine in this process, for tests: no sandbox, and so no deadline either."""

import asyncio

from aiservice.sqlassist import machine
from aiservice.sqlassist.model import Answer, Brief, Grid, Query, Task


class MemoryMachine:
    """Works in a thread, so that the loop goes on."""

    async def assist(self, task: Task) -> Answer:
        return await asyncio.to_thread(machine.assist, task)

    async def brief(self, task: Task) -> Brief | None:
        return await asyncio.to_thread(machine.brief, task)

    async def run(self, query: Query) -> Grid:
        return await asyncio.to_thread(machine.run, query)

    async def aclose(self) -> None:
        return None
