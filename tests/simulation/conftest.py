"""One simulation for all tests of the folder: what it is made of is made once."""

import gc
from collections.abc import Iterator

import pytest

from tests.simulation.simulation import Simulation


@pytest.fixture(scope="session")
def simulation() -> Iterator[Simulation]:
    """What stands already is kept out of the garbage collection between two seeds, which then takes no time."""
    gc.collect()
    gc.freeze()
    yield Simulation()
    gc.unfreeze()
