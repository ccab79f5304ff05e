"""Seeds: each is a machine of some workers, some dozen requests and what may go wrong; see docs/testing.md.

SEED=n replays one seed and prints what happened in it. LONG=1 runs 10,000 seeds, SEEDS=n so many.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.simulation import Simulation

ROOT = Path(__file__).resolve().parents[2]
SEED = int(os.environ.get("SEED", "1"))
SEEDS = int(os.environ.get("SEEDS", "10000" if os.environ.get("LONG") == "1" else "500"))
BLOCK = 25


def blocks() -> list[object]:
    """The first block runs in the fast ring too."""
    return [
        pytest.param(first, min(first + BLOCK, SEEDS), marks=[pytest.mark.slow] if first else [], id=f"{first}")
        for first in range(0, SEEDS, BLOCK)
    ]


@pytest.mark.parametrize(("first", "end"), blocks())
def test_seeds(simulation: Simulation, first: int, end: int) -> None:
    for seed in range(first, end):
        outcome = simulation.run(seed)
        if outcome.wrong:
            pytest.fail(outcome.report(), pytrace=False)


def test_one_seed_replays_step_by_step(simulation: Simulation, capsys: pytest.CaptureFixture[str]) -> None:
    """SEED names it."""
    outcome = simulation.run(SEED)
    if "SEED" in os.environ:
        with capsys.disabled():
            sys.stdout.write(f"\n{outcome.report()}\n")

    assert outcome.wrong == ()
    assert simulation.run(SEED) == outcome


@pytest.mark.slow
def test_a_seed_is_the_same_in_another_process() -> None:
    """Nothing hangs on addresses or on the order of sets."""
    seeds = [str(seed) for seed in range(SEED, SEED + 10)]
    printed = {
        subprocess.run(
            [sys.executable, "-m", "tests.simulation.simulation", *seeds],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    }

    assert len(printed) == 1
    assert printed.pop().count("\n") == 10
