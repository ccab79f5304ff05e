"""The engine that writes down what it saw, in a process of its own, and its notes."""

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from tests.servers.witness_engine import Note

ENGINE = Path(__file__).parents[1] / "servers" / "witness_engine.py"


@dataclass(frozen=True)
class Witness:
    """A running engine; its notes are read from its file at each call."""

    port: int
    path: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def notes(self) -> list[Note]:
        return [msgspec.json.decode(line, type=Note) for line in self.path.read_bytes().splitlines()]

    def calls(self) -> list[Note]:
        return [note for note in self.notes() if note.event == "call"]

    def left(self) -> list[Note]:
        return [note for note in self.notes() if note.event == "left"]

    def counts(self) -> Counter[int]:
        """How often each number was asked for."""
        return Counter(note.number for note in self.calls())

    async def called(self, count: int, *, within_s: float = 10) -> list[Note]:
        """Waits until so many calls were seen."""
        async with asyncio.timeout(within_s):
            while len(calls := self.calls()) < count:
                await asyncio.sleep(0.01)
        return calls


@asynccontextmanager
async def witnessing(folder: Path) -> AsyncIterator[Witness]:
    path = folder / "notes.jsonl"
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(ENGINE), str(path), stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        yield Witness(int(await asyncio.wait_for(process.stdout.readline(), 10)), path)
    finally:
        process.terminate()
        await process.wait()
