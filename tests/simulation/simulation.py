"""Runs one seed in a folder of its own."""

import gc
import logging
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from aiservice.observe.metrics import Metrics
from tests.simulation import checks
from tests.simulation.machine import Machine
from tests.simulation.plan import Plan, drawn
from tests.simulation.virtual_loop import Stuck, VirtualLoop
from tests.simulation.worker import Parts

MEMORY_DISK = Path("/dev/shm")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a seed came to. `digest` is the same each time the seed runs."""

    plan: Plan
    wrong: tuple[str, ...]
    lines: tuple[str, ...]
    digest: str
    steps: int
    ends: dict[str, int]

    def report(self) -> str:
        """What went wrong, everything that happened, and how to see it again."""
        return "\n".join(
            (
                f"seed {self.plan.seed}: {len(self.wrong)} wrong",
                *self.wrong,
                "",
                *self.lines,
                "",
                f"again: make test SEED={self.plan.seed} ARGS=-kone_seed",
            )
        )


class Simulation:
    """Runs seeds one after the other; collects garbage now and then, and never in the middle of one."""

    def __init__(self) -> None:
        self._metrics = Metrics()

    def run(self, seed: int, parts: Parts | None = None) -> Outcome:
        plan = drawn(seed)
        with _folder() as folder, _quiet():
            loop = VirtualLoop(seed, order=plan.order)
            machine = Machine(plan, loop, folder, parts=parts or Parts(), metrics=self._metrics)
            try:
                loop.run_until_complete(machine.run())
                wrong = checks.wrong(machine)
            except (Stuck, TimeoutError) as error:
                wrong = [f"{type(error).__name__}: {error}", *loop.complaints]
            finally:
                loop.close()
        journal = machine.world.journal
        digest = f"{loop.digest:016x}-{journal.digest:08x}"
        return Outcome(plan, tuple(wrong), tuple(journal.lines), digest, loop.steps, checks.summary(machine))


@contextmanager
def _folder() -> Iterator[Path]:
    """In memory where there is such a disk: no simulated crash loses what was written."""
    path = Path(tempfile.mkdtemp(prefix="simulation-", dir=MEMORY_DISK if MEMORY_DISK.is_dir() else None))
    try:
        yield path
    finally:
        shutil.rmtree(path)


@contextmanager
def _quiet() -> Iterator[None]:
    """No garbage collection, which would end things at moments that no seed decides, and no warnings of the rooms."""
    level = logging.getLogger("aiservice").level
    logging.getLogger("aiservice").setLevel(logging.CRITICAL + 1)
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        logging.getLogger("aiservice").setLevel(level)


if __name__ == "__main__":
    simulation = Simulation()
    for seed in sys.argv[1:]:
        sys.stdout.write(f"{seed} {simulation.run(int(seed)).digest}\n")
