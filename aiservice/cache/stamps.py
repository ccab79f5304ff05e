"""Numbers in a small mapped file that tell every worker, for the price of a read, if what it remembers still holds.

Each key has a slot, shared with others; slot 0, the era, belongs to all. Who changes what a slot stands for writes an
odd number there before the change is committed and an even one after it, each one that was never there before. What
was read from the store may be remembered under the even numbers that stood there before the reading, and holds for as
long as they stand. A writer that died in between leaves an odd number: nothing holds until `mend`.
"""

import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from zlib import crc32

ERA = 0
SLOTS = 4_096
SIZE_BYTES = 8 * SLOTS

# The slot of a key, and the numbers that stood there and in the era.
Mark = tuple[int, int, int]


class Stamps:
    """The numbers of one store."""

    def __init__(self, path: Path) -> None:
        """Touches no file: `open` does."""
        self.is_torn = False
        self._path = path
        self._numbers = memoryview(bytearray(SIZE_BYTES)).cast("Q")

    @property
    def era(self) -> int:
        return self._numbers[ERA]

    def open(self) -> None:
        """Maps the file, or makes it, and begins a new era; only one worker at a time. Raises `OSError`."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if os.fstat(descriptor).st_size != SIZE_BYTES:
                # Written and not only sized: on a full disk a hole in a mapped file kills the process that fills it.
                os.pwrite(descriptor, bytes(SIZE_BYTES), 0)
                os.ftruncate(descriptor, SIZE_BYTES)
            self._numbers = memoryview(mmap.mmap(descriptor, SIZE_BYTES)).cast("Q")
        finally:
            os.close(descriptor)
        self._settle(ERA)

    def mark_of(self, digest: str) -> Mark | None:
        """To be asked before the store is read; None while a change is under way, or if its writer died."""
        slot = slot_of(digest)
        stamp, era = self._numbers[slot], self._numbers[ERA]
        if (stamp | era) & 1:
            self.is_torn = True
            return None
        return slot, stamp, era

    def holds(self, mark: Mark) -> bool:
        """Whether what was read under the mark is what the store still has."""
        slot, stamp, era = mark
        return self._numbers[slot] == stamp and self._numbers[ERA] == era

    @contextmanager
    def changing(self, slot: int) -> Iterator[None]:
        """Around the commit of a change: nothing remembered from before it holds from here on."""
        self._numbers[slot] = _fresh() | 1
        try:
            yield
        finally:
            self._settle(slot)

    def mend(self) -> None:
        """Settles what a dead writer left; to be called only while no writer can be at work."""
        for slot in range(SLOTS):
            if self._numbers[slot] & 1:
                self._settle(slot)
        self.is_torn = False

    def close(self) -> None:
        """Lets go of the file; afterwards nothing can be asked."""
        self._numbers.release()

    def _settle(self, slot: int) -> None:
        self._numbers[slot] = _fresh()


def slot_of(digest: str) -> int:
    """The slot of a key, the same in every process; never that of the era."""
    return 1 + crc32(digest.encode()) % (SLOTS - 1)


def _fresh() -> int:
    return int.from_bytes(os.urandom(8), "little") & ~1
